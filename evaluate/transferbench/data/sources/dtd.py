"""Describable Textures (Cimpoi et al., 2014), partition 1: 47 textures, 80 images of each to train on, 40 to test."""

from pathlib import Path

from torchvision.datasets import DTD

from transferbench.data import LabeledImages
from transferbench.data.files import Official, from_torchvision, opened

HELP = "DTD, 0.6 GiB: evaluate download dtd"

ABOUT = Official("dtd", "DTD", revision="r1.0.1, partition 1")
PARTS = {"train": ("train", "val"), "test": ("test",)}


def download(where: Path) -> None:
    """Fetch the data set with torchvision, which checks its md5."""
    DTD(where.parent, download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split of the first of the ten official partitions; papers train on its train and val together.

    Raises:
        UserError: when it is not there or not whole, with the command that gets it.
    """
    return opened(
        ABOUT, where, split, lambda: from_torchvision(*(DTD(where.parent, part, loader=Path) for part in PARTS[split]))
    )
