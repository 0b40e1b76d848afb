"""EuroSAT, RGB (Helber et al., 2019): 27,000 satellite tiles of 64x64 pixels in 10 classes, every fifth to test."""

from pathlib import Path

import numpy as np
from torchvision.datasets import EuroSAT

from transferbench.data import LabeledImages
from transferbench.data.files import Listing, Official, from_folders, opened

HELP = "EuroSAT, 0.09 GiB: evaluate download eurosat"

ABOUT = Official("eurosat", "EuroSAT", revision="RGB, every fifth tile of a class to test")
FOLDERS = ("2750", "EuroSAT_RGB")
"""What the archive unpacks to, by its age."""


def download(where: Path) -> None:
    """Fetch the data set with torchvision, which checks its md5."""
    EuroSAT(where.parent, download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split. There is no official one: as in many papers a fifth of each class is for testing.

    Raises:
        UserError: when it is not there, with the command that gets it.
    """
    return opened(ABOUT, where, split, lambda: _dealt(where, split))


def _dealt(where: Path, split: str) -> Listing:
    folder = next((where / name for name in FOLDERS if (where / name).is_dir()), where / FOLDERS[0])
    files = from_folders(folder)
    places = np.arange(len(files.labels)) - np.searchsorted(files.labels, files.labels)
    return files.subset((places % 5 == 4) == (split == "test"))
