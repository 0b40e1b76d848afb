"""Food-101 (Bossard et al., 2014): 750 training and 250 test photos of each of 101 dishes."""

from pathlib import Path

from torchvision.datasets import Food101

from transferbench.data import LabeledImages
from transferbench.data.files import Official, from_torchvision, opened

HELP = "Food-101, 4.7 GiB: evaluate download food101"

ABOUT = Official("food101", "Food-101")


def download(where: Path) -> None:
    """Fetch the data set with torchvision, which checks its md5."""
    Food101(where, download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, as torchvision lists it.

    Raises:
        UserError: when it is not there or not whole, with the command that gets it.
    """
    return opened(ABOUT, where, split, lambda: from_torchvision(Food101(where, split, loader=Path)))
