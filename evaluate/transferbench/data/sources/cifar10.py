"""CIFAR-10 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 32x32 pixels in 10 classes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torchvision.datasets import CIFAR10

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.errors import UserError, unknown

HELP = "CIFAR-10, 163 MiB: evaluate download cifar10"

SPLITS = ("train", "test")


@dataclass(frozen=True)
class CifarReader:
    """Image i of an array."""

    pixels: UInt8[np.ndarray, "n 32 32 3"]

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`."""
        return Image.fromarray(self.pixels[index])


def download(where: Path) -> None:
    """Fetch the data set with torchvision, which checks its md5."""
    CIFAR10(str(where), download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in memory, from the files torchvision keeps under `where`.

    Raises:
        UserError: when they are not there or not whole (torchvision checks their md5), with the command that gets them.
    """
    return from_torchvision("CIFAR-10", CIFAR10, where, split)


def from_torchvision(title: str, dataset: type[CIFAR10], where: Path, split: str) -> LabeledImages:
    """`open_split` of CIFAR-10, or of CIFAR-100, which torchvision reads with the same class."""
    name = dataset.__name__.lower()
    if split not in SPLITS:
        raise unknown(f"split of {name}", split, SPLITS)
    try:
        data = dataset(str(where), train=split == "train")
    except (RuntimeError, OSError, EOFError):
        raise UserError(
            f"{title} is not at {where}, or incomplete. Download it with\n  evaluate download {name} --data-root "
            f"{where.parent}"
        ) from None
    labels = np.array(data.targets, dtype=np.int64)
    info = DatasetInfo(name, tuple(data.classes), SPLITS, 32, f"md5 {dataset.tgz_md5}")
    mark = hashlib.sha256(data.data.tobytes() + labels.tobytes()).hexdigest()
    return LabeledImages(
        info, split, labels, CifarReader(data.data), [f"{split}/{i:05d}" for i in range(len(labels))], mark
    )
