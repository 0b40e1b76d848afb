"""STL-10 (Coates et al., 2011): 96x96 pixels in 10 classes; 5,000 to train on, 8,000 to test, 100,000 unlabeled."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image
from torchvision.datasets import STL10
from torchvision.datasets.utils import check_integrity

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.errors import UserError, unknown

HELP = "STL-10, 2.5 GiB: evaluate download stl10"

PARTS = {
    "train": ("train",),
    "unlabeled": ("unlabeled",),
    "train+unlabeled": ("train", "unlabeled"),
    "test": ("test",),
}
SIDE = 96
BYTES = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Stl10Reader:
    """Image i of several files laid end to end, read from disk when asked for: all of them together take 2.7 GiB."""

    files: tuple[Path, ...]
    counts: tuple[int, ...]

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`; a file holds channels of columns."""
        for path, count in zip(self.files, self.counts, strict=True):
            if index < count:
                raw = np.fromfile(path, np.uint8, BYTES, offset=index * BYTES)
                return Image.fromarray(np.ascontiguousarray(raw.reshape(3, SIDE, SIDE).transpose(2, 1, 0)))
            index -= count
        raise IndexError(index)


def download(where: Path) -> None:
    """Fetch the data set with torchvision, which checks its md5."""
    STL10(str(where), download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, from the files torchvision keeps under `where`; an image without a label is of class -1.

    Raises:
        UserError: when they are not there or not whole (by their md5), with the command that gets them.
    """
    if split not in PARTS:
        raise unknown("split of stl10", split, PARTS)
    folder, sums = where / STL10.base_folder, dict([*STL10.train_list, *STL10.test_list])
    needed = [f"{part}_{kind}.bin" for part in PARTS[split] for kind in "Xy" if f"{part}_{kind}.bin" in sums]
    names = folder / STL10.class_names_file
    if not names.is_file() or not all(check_integrity(str(folder / name), sums[name]) for name in needed):
        raise UserError(
            f"STL-10 is not at {where}, or incomplete. Download it with\n  evaluate download stl10 --data-root "
            f"{where.parent}"
        )
    files = tuple(folder / f"{part}_X.bin" for part in PARTS[split])
    counts = tuple(path.stat().st_size // BYTES for path in files)
    labels = np.concatenate(
        [_labels(folder / f"{part}_y.bin", n) for part, n in zip(PARTS[split], counts, strict=True)]
    )
    info = DatasetInfo("stl10", tuple(names.read_text().split()), tuple(PARTS), SIDE, f"md5 {STL10.tgz_md5}")
    mark = hashlib.sha256(" ".join(sums[name] for name in needed).encode()).hexdigest()
    return LabeledImages(
        info, split, labels, Stl10Reader(files, counts), [f"{split}/{i:06d}" for i in range(len(labels))], mark
    )


def _labels(path: Path, count: int) -> Int64[np.ndarray, "n"]:
    return np.fromfile(path, np.uint8).astype(np.int64) - 1 if path.is_file() else np.full(count, -1)
