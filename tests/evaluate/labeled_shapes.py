"""Images of two bright shapes on noise with the class of each pixel, and small backbones to look at them with."""

import numpy as np
from PIL import Image

from transferbench.backbones import Architecture, build, complete
from transferbench.checkpoints import Candidate, Card, LoadReport, digest
from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.label_maps import LabelMaps
from transferbench.data.transforms import Preprocess

COLORS = np.array([[0, 0, 0], [150, 0, 0], [0, 150, 60]])
SIZE = (40, 48)


def shapes(n: int, seed: int, split: str = "train") -> LabeledImages:
    """`n` images of 48x40 pixels; five pixels of each have no class (255)."""
    rng = np.random.default_rng(seed)
    images, maps = [], []
    for _ in range(n):
        labels, pixels = np.zeros(SIZE, np.uint8), rng.integers(0, 60, (*SIZE, 3))
        for label in (1, 2):
            top, left = rng.integers(0, SIZE[0] - 16), rng.integers(0, SIZE[1] - 16)
            high, wide = rng.integers(8, 16, 2)
            where = slice(top, top + high), slice(left, left + wide)
            labels[where], pixels[where] = label, rng.integers(0, 80, 3) + COLORS[label]
        labels[0, :5] = 255
        images.append(pixels.astype(np.uint8))
        maps.append(labels)
    names = [f"shape{i}" for i in range(n)]
    info = DatasetInfo("shapes", ("ground", "red", "green"), ("train", "test"), None, "1", "miou", "label maps")
    return LabeledImages(
        info, split, np.full(n, -1), lambda i: Image.fromarray(images[i]), names, f"shapes {split} {n} {seed}",
        label_maps=LabelMaps(lambda i: maps[i], names),
    )  # fmt: skip


def candidate(family: str = "resnet", crop: int = 32, **arguments: object) -> Candidate:
    """A backbone with random weights, a tiny ResNet where nothing else is asked for."""
    given = arguments or {"depth": 10, "width": 0.125, "stem": "cifar"}
    architecture = complete(Architecture(family=family, arguments=given))
    backbone = build(architecture, seed=1)
    card = Card(architecture=architecture, preprocess=Preprocess(size=None, crop=crop))
    report = LoadReport(format="live", matched=1, parameters=1)
    return Candidate("tiny", backbone, card, digest(backbone.state_dict()), report)


TOKENS = {"image_size": 32, "patch_size": 8, "dim": 24, "depth": 3, "heads": 2, "registers": 2}
