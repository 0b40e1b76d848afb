"""Data sets of image files in their official layouts: from a list of files and labels to `LabeledImages`."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from transferbench.data import Carries, DatasetInfo, LabeledImages, Metric
from transferbench.data.labels import integers
from transferbench.data.trees import FileReader, is_hidden, is_image
from transferbench.errors import UserError, unknown


@dataclass(frozen=True)
class Official:
    """What is true of a data set before it is opened; `expected` says what lies where, if no program fetches it."""

    name: str
    title: str
    splits: tuple[str, ...] = ("train", "test")
    metric: Metric = "top1"
    revision: str = "1"
    expected: str = ""
    carries: Carries = "one label"

    def require(self, split: str) -> None:
        """Refuse a split that the data set has not."""
        if split not in self.splits:
            raise unknown(f"split of {self.name}", split, self.splits)

    def absent(self, where: Path, reason: object = "") -> UserError:
        """The error that says how to get the data set."""
        missing = (
            f"{self.title} at {where} is incomplete ({reason})" if where.exists() else f"{self.title} is not at {where}"
        )
        cure = f"Download it with\n  evaluate download {self.name} --data-root {where.parent}"
        mend = f"Expected there:\n  {self.expected}" if self.expected else cure
        return UserError(f"{missing}. {mend}")


class Listing(NamedTuple):
    """Image files, in the order of the data set, with their labels and the names of all classes."""

    files: Sequence[str | Path]
    labels: Sequence[int]
    classes: Sequence[str]

    def subset(self, chosen: Bool[np.ndarray, "n"]) -> "Listing":
        """Those images for which `chosen` is true."""
        kept = np.flatnonzero(chosen).tolist()
        return Listing([self.files[i] for i in kept], [self.labels[i] for i in kept], self.classes)


def opened(about: Official, where: Path, split: str, listing: Callable[[], Listing]) -> LabeledImages:
    """A split from its listing; what the listing cannot find or read is told as absent.

    The fingerprint is a sha256 of paths, sizes and labels.

    Raises:
        UserError: for an unknown split, or when a file is missing, with the way to get the data set.
    """
    about.require(split)
    try:
        files, labels, classes = listing()
        names = [os.fspath(file).removeprefix(f"{where}{os.sep}").replace(os.sep, "/") for file in files]
        sizes = [os.stat(file).st_size for file in files]  # noqa: PTH116  (a million times)
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        raise about.absent(where, error) from None
    if not names:
        raise about.absent(where, f"no images in {split}")
    marks = (f"{name}\0{size}\0{label}\n" for name, size, label in zip(names, sizes, labels, strict=True))
    return LabeledImages(
        info=DatasetInfo(about.name, tuple(classes), about.splits, None, about.revision, about.metric, about.carries),
        split=split,
        labels=integers(labels, f"{about.name}/{split}"),
        read=FileReader(where, tuple(names)),
        names=[f"{split}/{name}" for name in names],
        fingerprint=hashlib.sha256("".join(marks).encode()).hexdigest(),
    )


def from_torchvision(*parts: Any) -> Listing:
    """What torchvision's data sets list, one after the other; they must be made with `loader=Path`."""
    pairs = [part[i] for part in parts for i in range(len(part))]
    return Listing([path for path, _ in pairs], [int(label) for _, label in pairs], parts[0].classes)


def from_folders(root: Path, inside: str = "", classes: Sequence[str] | None = None) -> Listing:
    """ROOT/CLASS/INSIDE/IMAGE: classes in alphabetical order, or the given ones; files in that of their names.

    Raises:
        OSError: when a class has no folder or no image in it.
    """
    names = _folders(root) if classes is None else classes
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        folder = root / name / inside
        here = sorted(entry.path for entry in os.scandir(folder) if is_image(entry.name))
        if not here:
            raise FileNotFoundError(f"no images in {folder}")
        files += here
        labels += [label] * len(here)
    return Listing(files, labels, names)


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_hidden(entry.name))
