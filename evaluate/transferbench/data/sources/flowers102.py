"""Oxford Flowers-102 (Nilsback and Zisserman, 2008): 2,040 training (train and val) and 6,149 test photos."""

from pathlib import Path

from torchvision.datasets import Flowers102

from transferbench.data import LabeledImages
from transferbench.data.files import Official, from_torchvision, opened

HELP = "Flowers-102, 0.3 GiB: evaluate download flowers102"

ABOUT = Official("flowers102", "Flowers-102", metric="mean_per_class")
PARTS = {"train": ("train", "val"), "test": ("test",)}


def download(where: Path) -> None:
    """Fetch the data set with torchvision, which checks its md5."""
    Flowers102(where, download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split; papers train on the official train and val together, 20 images a class.

    Raises:
        UserError: when it is not there or not whole, with the command that gets it.
    """
    return opened(
        ABOUT, where, split, lambda: from_torchvision(*(Flowers102(where, part, loader=Path) for part in PARTS[split]))
    )
