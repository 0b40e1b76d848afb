"""CIFAR-100 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 32x32 pixels in 100 fine classes."""

from pathlib import Path

from torchvision.datasets import CIFAR100

from transferbench.data import LabeledImages
from transferbench.data.sources.cifar10 import from_torchvision

HELP = "CIFAR-100, 161 MiB: evaluate download cifar100"


def download(where: Path) -> None:
    """Fetch the data set with torchvision, which checks its md5."""
    CIFAR100(str(where), download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in memory, from the files torchvision keeps under `where`.

    Raises:
        UserError: when they are not there or not whole (torchvision checks their md5), with the command that gets them.
    """
    return from_torchvision("CIFAR-100", CIFAR100, where, split)
