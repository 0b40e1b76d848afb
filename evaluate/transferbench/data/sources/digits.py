"""Scikit-learn's handwritten digits on photo patches: real data, no download, the embedded default.

The 1,797 digits (8x8 pixels, 16 gray levels) are split first, 50 of each class for testing. Each is then rendered three
times (training) or twice (testing) at 32x32: scaled to 14 to 26 pixels, turned by up to 22 degrees, moved, and painted
in a faintly tinted gray, lighter or darker than the ground, by 90 to 150 of 255 levels. The ground is a patch of
one of scikit-learn's two sample photos at quarter size and 9 to 28 % of its contrast; training patches come from the
photos' left halves, test patches from the right.

The ranges are the last of 18 settings tried, judged by looking at the images and by test accuracies of raw pixels and
of random networks alone (5 neighbors by cosine / Euclidean distance; chance 10 %). Measured: raw pixels 38.3 / 28.6
%; features of randomly initialized ResNet-18 of half width, three seeds, 21.6 to 22.0 / 14.3 to 16.3 % with the
`small_maxpool` stem and 16.8 to 20.9 / 10.8 to 13.5 % with the `cifar` stem; logistic regression on those
standardized features (C = 0.01) 14.0 to 16.2 %.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.sources import _sklearn_files
from transferbench.errors import unknown

HELP = "embedded: scikit-learn's digits on patches of its sample photos, 32x32; nothing to download"

SIDE = 32
INFO = DatasetInfo("digits", tuple("0123456789"), ("train", "test"), SIDE, "1")
RENDERINGS = {"train": 3, "test": 2}
TEST_PER_CLASS = 50
KEY = 1797
ONE = 1 << 16  # 1.0 in fixed-point arithmetic
SIZES = (14, 26)  # pixels spanned by the 8 cells
SPILL = (1, 4)  # pixels the 8x8 square may leave the image by, vertically and horizontally
TURN = ONE * 3 // 8  # the largest sine of the rotation
INK = (4 * 256, 10 * 256)  # gray levels (of 16, times 256) where a stroke begins and where it is full
GAP = (90, 150)  # between ground and ink, of 255
MARGIN = 20  # from the darkest and lightest level
TINT = 14  # the most a channel leaves gray by
CONTRAST = (24, 72)  # of the photo patch, in 256ths


class Rendered(NamedTuple):
    """One split in memory; `instances` says which of scikit-learn's digits each image shows."""

    pixels: UInt8[np.ndarray, "n 32 32 3"]
    labels: Int64[np.ndarray, "n"]
    instances: Int64[np.ndarray, "n"]


@dataclass(frozen=True)
class DigitsReader:
    """Image i of the rendered split."""

    split: str

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`."""
        return Image.fromarray(rendered(self.split).pixels[index])


def open_split(where: Path, split: str) -> LabeledImages:
    """The rendered split; nothing lies on disk, so `where` is not read."""
    if split not in INFO.splits:
        raise unknown("split of digits", split, INFO.splits)
    data = rendered(split)
    names = [f"digit{instance:04d}-{i % RENDERINGS[split]}" for i, instance in enumerate(data.instances.tolist())]
    mark = hashlib.sha256(data.pixels.tobytes() + data.labels.tobytes()).hexdigest()
    return LabeledImages(INFO, split, data.labels, DigitsReader(split), names, mark)


@cache
def rendered(split: str) -> Rendered:
    """Render a split, in integers and from raw Philox words throughout: the same bytes on every machine."""
    digits, labels = _sklearn_files.digits()
    bits = np.random.Philox(key=[KEY, 1 + INFO.splits.index(split)])
    instances = np.repeat(instances_of(split, labels), RENDERINGS[split])
    cover = _strokes(digits[instances], bits)
    pixels = _painted(cover, _patches(split, len(instances), bits), bits)
    return Rendered(pixels, labels[instances], instances)


def instances_of(split: str, labels: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "m"]:
    """The digits of a split, in ascending order: 50 of each class are for testing."""
    order = np.argsort(np.random.Philox(key=[KEY, 0]).random_raw(len(labels)), kind="stable")
    test = np.concatenate([order[labels[order] == label][:TEST_PER_CLASS] for label in range(10)])
    return np.sort(test) if split == "test" else np.setdiff1d(order, test)


def _drawn(
    bits: np.random.Philox,
    low: int | Int32[np.ndarray, "n 1 1 *c"],
    high: int | Int32[np.ndarray, "n 1 1 *c"],
    shape: tuple[int, ...],
) -> Int32[np.ndarray, "n 1 1 *c"]:
    """Integers from `low` to `high`, both included."""
    words = bits.random_raw(int(np.prod(shape))).reshape(shape)
    return (low + (words >> 33).astype(np.int64) % (np.asarray(high, np.int64) - low + 1)).astype(np.int32)


def _strokes(digits: Int32[np.ndarray, "n 8 8"], bits: np.random.Philox) -> Int32[np.ndarray, "n 32 32"]:
    """How much ink covers each pixel, 0 to 256: the 8x8 gray levels scaled, turned, moved and hardened."""
    each = (len(digits), 1, 1)
    size = _drawn(bits, *SIZES, each)
    down, right = (_drawn(bits, -((SIDE - size) // 2 + s), (SIDE - size) // 2 + s, each) for s in SPILL)
    sine = _drawn(bits, -TURN, TURN, each)
    cosine = np.sqrt(ONE**2 - sine.astype(np.int64) ** 2).astype(np.int32)
    centers = 2 * np.arange(SIDE, dtype=np.int32) + 1 - SIDE  # in half pixels from the middle
    v, u = centers[:, None] - 2 * down, centers - 2 * right
    middle = 4 * ONE - ONE // 2
    y = (cosine * v - sine * u) * 4 // size + middle
    x = (cosine * u + sine * v) * 4 // size + middle
    begin, full = INK
    return np.clip((_bilinear(digits, y, x) - begin) * 256 // (full - begin), 0, 256)


def _bilinear(
    cells: Int32[np.ndarray, "n 8 8"], y: Int32[np.ndarray, "n 32 32"], x: Int32[np.ndarray, "n 32 32"]
) -> Int32[np.ndarray, "n 32 32"]:
    """Values between the cells, times 256; zero outside."""
    padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
    each = np.arange(len(cells))[:, None, None]
    rows, columns = ([np.clip((place >> 16) + step, 0, 9) for step in (1, 2)] for place in (y, x))
    part_y, part_x = y >> 8 & 255, x >> 8 & 255
    upper, lower = (padded[each, r, columns[0]] * (256 - part_x) + padded[each, r, columns[1]] * part_x for r in rows)
    return (upper * (256 - part_y) + lower * part_y) >> 8


def _patches(split: str, n: int, bits: np.random.Philox) -> Int32[np.ndarray, "n 32 32 3"]:
    """Windows of the quarter-size photos: their left halves for training, their right halves for testing."""
    photos = [_sklearn_files.photo(name).reduce(4) for name in ("china.jpg", "flower.jpg")]
    halves = [np.split(np.asarray(photo, dtype=np.int32), 2, axis=1)[INFO.splits.index(split)] for photo in photos]
    windows = np.lib.stride_tricks.sliding_window_view(np.stack(halves), (SIDE, SIDE), (1, 2))
    photo, top, left = (_drawn(bits, 0, bound - 1, (n, 1, 1))[:, 0, 0] for bound in windows.shape[:3])
    return windows[photo, top, left].transpose(0, 2, 3, 1)


def _painted(
    cover: Int32[np.ndarray, "n 32 32"], patches: Int32[np.ndarray, "n 32 32 3"], bits: np.random.Philox
) -> UInt8[np.ndarray, "n 32 32 3"]:
    """Ink over faded patches, light on dark or dark on light."""
    gray, color = (len(cover), 1, 1, 1), (len(cover), 1, 1, 3)
    gap = _drawn(bits, *GAP, gray)
    dark = _drawn(bits, MARGIN, 255 - MARGIN - gap, gray)
    ink_is_light = _drawn(bits, 0, 1, gray)
    ink = dark + gap * ink_is_light + _drawn(bits, -TINT, TINT, color)
    mean = patches.sum((1, 2, 3), keepdims=True, dtype=np.int32) // (3 * SIDE**2)
    faded = (patches - mean) * _drawn(bits, *CONTRAST, gray) // 256
    ground = np.clip(dark + gap * (1 - ink_is_light) + _drawn(bits, -TINT, TINT, color) + faded, 0, 255)
    mixed = (ground * (256 - cover[..., None]) + ink * cover[..., None] + 128) >> 8
    return np.clip(mixed, 0, 255).astype(np.uint8)
