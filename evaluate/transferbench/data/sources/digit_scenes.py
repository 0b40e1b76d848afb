"""Scikit-learn's handwritten digits 0, 1 and 4 on its sample photos, with boxes and masks: nothing to download.

Each scene of 128 pixels is a window of one of the two photos at half size, its contrast lowered, with two to four
digits of 28 to 56 pixels on it that do not touch. Training scenes show the training digits of `digits` on the photos'
left halves, test scenes the test digits on the right ones. An object's mask is where its stroke covers at least half of
a pixel, its box the mask's. Category ids are the digit plus 1, so they have a gap, as COCO's have.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.annotations import Annotated, Annotation
from transferbench.data.sources import _sklearn_files
from transferbench.data.sources.digits import instances_of
from transferbench.errors import unknown

HELP = "embedded: scikit-learn's digits with boxes and masks on its sample photos, 128x128; nothing to download"

DIGITS = (0, 1, 4)
SIDE = 128
INFO = DatasetInfo("digit-scenes", tuple(map(str, DIGITS)), ("train", "test"), SIDE, "1", "box_ap", "boxes")
SCENES = {"train": 64, "test": 32}
KEY = 1798
SIZES = (28, 56)  # pixels spanned by the 8 cells
COUNTS = (2, 4)
GAP = 110  # of 255, between the ground's mean and ink, at the least
TRIES = 50  # to place a digit where it touches none


class Scenes(NamedTuple):
    """One split in memory."""

    pixels: UInt8[np.ndarray, "n 128 128 3"]
    objects: list[tuple[Annotation, ...]]


@dataclass(frozen=True)
class SceneReader:
    """Image i of a split."""

    split: str

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`."""
        return Image.fromarray(drawn(self.split).pixels[index])


def open_split(where: Path, split: str) -> LabeledImages:
    """The drawn split; nothing lies on disk, so `where` is not read."""
    if split not in INFO.splits:
        raise unknown("split of digit-scenes", split, INFO.splits)
    scenes, n = drawn(split), SCENES[split]
    annotated = Annotated(scenes.objects, list(range(1, n + 1)), [(SIDE, SIDE)] * n, tuple(d + 1 for d in DIGITS))
    mark = hashlib.sha256(scenes.pixels.tobytes() + repr(scenes.objects).encode()).hexdigest()
    names = [f"scene{i:03d}" for i in range(n)]
    return LabeledImages(INFO, split, annotated.first_labels(), SceneReader(split), names, mark, annotated=annotated)


@cache
def drawn(split: str) -> Scenes:
    """Draw a split, from Philox words and in PIL's integer arithmetic: the same bytes on every machine."""
    rng = np.random.Generator(np.random.Philox(key=[KEY, INFO.splits.index(split)]))
    digits = _sklearn_files.digits()
    _, labels = digits
    pool = instances_of(split, labels)
    pool = pool[np.isin(labels[pool], DIGITS)]
    photos = [_sklearn_files.photo(name).reduce(2) for name in ("china.jpg", "flower.jpg")]
    halves = [np.split(np.asarray(photo), 2, axis=1)[INFO.splits.index(split)] for photo in photos]
    scenes = [_scene(rng, halves, digits, pool) for _ in range(SCENES[split])]
    return Scenes(np.stack([pixels for pixels, _ in scenes]), [objects for _, objects in scenes])


def _scene(
    rng: np.random.Generator,
    halves: list[UInt8[np.ndarray, "h w 3"]],
    digits: tuple[np.ndarray, np.ndarray],
    pool: np.ndarray,
) -> tuple[UInt8[np.ndarray, "128 128 3"], tuple[Annotation, ...]]:
    images, labels = digits
    photo = halves[int(rng.integers(len(halves)))]
    top, left = (int(rng.integers(side - SIDE + 1)) for side in photo.shape[:2])
    level = int(rng.integers(60, 196))
    window = photo[top : top + SIDE, left : left + SIDE].astype(np.int64)
    canvas = np.clip(level + (window - int(window.mean())) // 3, 0, 255)
    occupied, objects = np.zeros((SIDE, SIDE), bool), []
    for _ in range(int(rng.integers(COUNTS[0], COUNTS[1] + 1))):
        instance, size = int(rng.choice(pool)), int(rng.integers(SIZES[0], SIZES[1] + 1))
        cells = Image.fromarray((images[instance] * 255 // 16).astype(np.uint8))
        cover = np.asarray(cells.resize((size, size), Image.Resampling.BILINEAR)).astype(np.int64)
        place = _free(rng, occupied, size)
        if place is None:
            continue
        y, x = place
        occupied[y : y + size, x : x + size] = True
        ink = rng.integers(0, level - GAP + 1, 3) if level >= 128 else rng.integers(level + GAP, 256, 3)
        part = canvas[y : y + size, x : x + size]
        canvas[y : y + size, x : x + size] = (part * (255 - cover[..., None]) + ink * cover[..., None]) // 255
        mask = np.zeros((SIDE, SIDE), bool)
        mask[y : y + size, x : x + size] = cover >= 128
        objects.append(_annotation(mask, DIGITS.index(int(labels[instance]))))
    return canvas.astype(np.uint8), tuple(objects)


def _free(rng: np.random.Generator, occupied: Bool[np.ndarray, "128 128"], size: int) -> tuple[int, int] | None:
    """An upper left corner where a square touches none that is taken."""
    for y, x in rng.integers(0, SIDE - size + 1, (TRIES, 2)).tolist():
        if not occupied[y : y + size, x : x + size].any():
            return y, x
    return None


def _annotation(mask: Bool[np.ndarray, "128 128"], label: int) -> Annotation:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    x, y, right, bottom = (int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    code = {"size": [SIDE, SIDE], "counts": _runs(mask)}
    return Annotation((float(x), float(y), float(right - x), float(bottom - y)), label, code, float(mask.sum()))


def _runs(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """Lengths of alternate runs of 0 and 1, down the columns, the first of 0: COCO's uncompressed code."""
    flat = np.concatenate([[False], mask.T.reshape(-1)])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], ends, [mask.size]])).tolist()
