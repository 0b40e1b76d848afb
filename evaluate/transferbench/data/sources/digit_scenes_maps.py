"""The scenes of `digit-scenes` with a class for each pixel: nothing to download.

Class 0 is the background, digit d is class d + 1, so that all ten digits have a class and three of them are shown. A
pixel is a digit's where its stroke covers at least half of it, as in the masks of `digit-scenes`; the digits do not
touch, so that no pixel is of two.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.label_maps import LabelMaps
from transferbench.data.sources import digit_scenes
from transferbench.data.sources.digit_scenes import DIGITS, SCENES, SIDE, SceneReader, drawn
from transferbench.errors import unknown

HELP = "embedded: the digit scenes with the class of each pixel, 128x128; nothing to download"

CLASSES = ("background", *map(str, range(10)))
INFO = DatasetInfo(
    "digit-scenes-maps", CLASSES, digit_scenes.INFO.splits, SIDE, digit_scenes.INFO.revision, "miou", "label maps"
)


@dataclass(frozen=True)
class SceneMapReader:
    """Label map i of a split."""

    split: str

    def __call__(self, index: int) -> UInt8[np.ndarray, "128 128"]:
        """The numbers of map `index`."""
        return _maps(self.split)[index]


def open_split(where: Path, split: str) -> LabeledImages:
    """The drawn split; nothing lies on disk, so `where` is not read."""
    if split not in INFO.splits:
        raise unknown("split of digit-scenes-maps", split, INFO.splits)
    names = [f"scene{i:03d}" for i in range(SCENES[split])]
    return LabeledImages(
        info=INFO,
        split=split,
        labels=np.full(len(names), -1, np.int64),
        read=SceneReader(split),
        names=names,
        fingerprint=hashlib.sha256(drawn(split).pixels.tobytes() + _maps(split).tobytes()).hexdigest(),
        label_maps=LabelMaps(SceneMapReader(split), names),
    )


@cache
def _maps(split: str) -> UInt8[np.ndarray, "n 128 128"]:
    maps = np.zeros((SCENES[split], SIDE, SIDE), np.uint8)
    for numbers, objects in zip(maps, drawn(split).objects, strict=True):
        for each in objects:
            assert isinstance(each.mask, dict)  # COCO's uncompressed code: runs of 0 and 1 down the columns
            runs = each.mask["counts"]
            mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(SIDE, SIDE).T
            numbers[mask] = DIGITS[each.label] + 1
    return maps
