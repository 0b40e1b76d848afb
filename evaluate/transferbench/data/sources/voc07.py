"""PASCAL VOC 2007 classification (Everingham et al.): 5,011 training (trainval) and 4,952 test photos, 20 classes."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from torchvision.datasets import VOCDetection

from transferbench.data import LabeledImages
from transferbench.data.files import Listing, Official, opened

HELP = "VOC 2007, 0.9 GiB: evaluate download voc07"

ABOUT = Official("voc07", "VOC 2007", metric="map11", carries="several labels")
PARTS = {"train": "trainval", "test": "test"}
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VERDICTS = {"1": 1, "-1": 0, "0": -1}
"""From the lists' words (there, not there, there but difficult) to those of `LabeledImages.targets`."""


def download(where: Path) -> None:
    """Fetch both archives with torchvision, which checks their md5."""
    for part in PARTS.values():
        VOCDetection(where, "2007", part, download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split with 20 targets an image, from the official list of each class.

    Raises:
        UserError: when it is not there or not whole, with the command that gets it.
    """
    labels: dict[str, list[int]] = {}
    images = opened(ABOUT, where, split, lambda: _listed(where / "VOCdevkit" / "VOC2007", PARTS[split], labels))
    targets = np.array(list(labels.values()), np.int8)
    mark = hashlib.sha256(images.fingerprint.encode() + targets.tobytes()).hexdigest()
    return replace(images, targets=targets, fingerprint=mark)


def _listed(folder: Path, part: str, targets: dict[str, list[int]]) -> Listing:
    """The images in the order of the lists; their targets are put into `targets`, by name."""
    for name in CLASSES:
        for line in (folder / "ImageSets" / "Main" / f"{name}_{part}.txt").read_text().splitlines():
            image, verdict = line.split()
            targets.setdefault(image, []).append(VERDICTS[verdict])
    if any(len(row) != len(CLASSES) for row in targets.values()):
        raise ValueError("the lists of the classes name different images")
    files = [folder / "JPEGImages" / f"{image}.jpg" for image in targets]
    return Listing(files, [int(np.argmax(row)) for row in targets.values()], CLASSES)
