"""Caltech-101 (Fei-Fei et al., 2004): 101 objects and the background; 30 photos of each to train on."""

from pathlib import Path

import numpy as np
from torchvision.datasets import Caltech101

from transferbench.data import LabeledImages
from transferbench.data.files import Listing, Official, from_folders, opened
from transferbench.data.subsets import ranks

HELP = "Caltech-101, 0.13 GiB: evaluate download caltech101"

ABOUT = Official("caltech101", "Caltech-101", metric="mean_per_class", revision="30 a class, seed 0")
PER_CLASS = 30


def download(where: Path) -> None:
    """Fetch the data set with torchvision, which checks its md5."""
    Caltech101(where.parent, download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split. There is no official one: papers draw 30 a class at random, here always the same 30.

    Raises:
        UserError: when it is not there, with the command that gets it.
    """
    return opened(ABOUT, where, split, lambda: _drawn(where / "101_ObjectCategories", split))


def _drawn(folder: Path, split: str) -> Listing:
    files = from_folders(folder)
    is_train = ranks(np.asarray(files.labels, np.int64), seed=0) < PER_CLASS
    return files.subset(is_train == (split == "train"))
