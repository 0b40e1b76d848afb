"""Parquet files in the Hugging Face image layout: a column of images with their encoded bytes, a column of labels.

A file belongs to the split in its name or in its folder's (`train-00000-of-00002.parquet`, `x-test.parquet`), and files
are taken in the order of their names. The fingerprint is a sha256 over the sizes of their row groups and the labels.
"""

import hashlib
import io
import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int64
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.labels import Numbered, by_number, integers, listed
from transferbench.data.trees import SPLITS, files_by_split
from transferbench.errors import UserError, unknown

HELP = "your own: give the path of a folder of parquet files, train-*.parquet and test-*.parquet (needs pyarrow)"

LAYOUT = "Expected parquet files named by split, with a column of images (a struct with `bytes`) and one of labels."
IMAGE = ("image", "img", "jpg", "png", "webp")
LABEL = ("label", "labels", "fine_label", "cls")
"""What the columns may be called."""
KEPT = 2**30
"""About how many bytes of row groups a process holds: of a larger split, images in a random order are slow to read."""

_held: OrderedDict[tuple[Path, int], Any] = OrderedDict()


@dataclass(frozen=True)
class Reader:
    """Decodes the i-th image of some files; `starts` is the first image of each row group, `groups` where it lies."""

    column: str
    starts: tuple[int, ...]
    groups: tuple[tuple[Path, int], ...]

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`."""
        place = int(np.searchsorted(self.starts, index, side="right")) - 1
        value = _encoded(*self.groups[place], self.column)[index - self.starts[place]].as_py()
        return Image.open(io.BytesIO(value["bytes"] if isinstance(value, dict) else value))


def open_split(where: Path, split: str) -> LabeledImages:
    """One split of the files in `where`; the data set is called by the folder's name.

    Raises:
        UserError: without pyarrow, when there is no file of the split, or one is damaged or laid out in another way.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    files = files_by_split(where, ".parquet")
    if split not in files:
        raise UserError(f"{where} has no file of '{split}'; found {', '.join(files) or 'none'}. {LAYOUT}")
    parquet = _pyarrow()
    try:
        return _labeled(parquet, where, files, split)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"The parquet files in {where} cannot be read: {error}. {LAYOUT}") from None


def column(names: list[str], known: tuple[str, ...]) -> str:
    """The first of the known names that is there."""
    held = next((name for name in known if name in names), None)
    if held is None:
        raise ValueError(f"no column {' or '.join(known)} among {', '.join(names)}")
    return held


def _labeled(parquet: ModuleType, where: Path, files: dict[str, list[Path]], split: str) -> LabeledImages:
    every = {name: [parquet.ParquetFile(path) for path in paths] for name, paths in files.items()}
    opened, name = every[split], where.resolve().name
    image = column(opened[0].schema_arrow.names, IMAGE)
    label = column(every["train" if "train" in every else split][0].schema_arrow.names, LABEL)
    names = _names(opened, label)
    found = {
        part: _labels(each, label, f"{where}/{part}") for part, each in every.items() if part == split or not names
    }
    labels, classes, notes = Numbered(found[split], names) if names else by_number(name, found, split)
    groups = [(path, g) for path, file in zip(files[split], opened, strict=True) for g in range(file.num_row_groups)]
    about = [file.metadata.row_group(g) for file in opened for g in range(file.num_row_groups)]
    sizes = np.cumsum([0, *(group.num_rows for group in about)])
    mark = "".join(f"{group.num_rows} {group.total_byte_size}\n" for group in about).encode() + labels.tobytes()
    return LabeledImages(
        info=DatasetInfo(name, classes, tuple(files), None, "local"),
        split=split,
        labels=labels,
        read=Reader(image, tuple(sizes[:-1].tolist()), tuple(groups)),
        names=[f"{split}/{i:07d}" for i in range(len(labels))],
        fingerprint=hashlib.sha256(mark).hexdigest(),
        notes=notes,
    )


def _labels(files: list[Any], label: str, where: str) -> Int64[np.ndarray, "n"]:
    """The labels in some files; -1 for the images of a file without that column, as tests are given out."""
    return np.concatenate(
        [
            integers(file.read([label])[label].to_pylist(), f"{where}, column {label}")
            if label in file.schema_arrow.names
            else np.full(file.metadata.num_rows, -1, np.int64)
            for file in files
        ]
    )


def _names(files: list[Any], label: str) -> tuple[str, ...]:
    """The classes' names from the features that `datasets` writes into a schema; empty where none of the files has any.

    Raises:
        ValueError: when the files of a split differ in them.
    """
    found: set[tuple[str, ...]] = set()
    for file in files:
        noted = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        names = noted.get("info", {}).get("features", {}).get(label, {}).get("names")
        found.add(tuple(names or ()))
    if len(found) > 1:
        told = "; ".join(listed(names) or "no names" for names in found)
        raise ValueError(f"the files of one split name their classes differently: {told}")
    return found.pop()


def _encoded(path: Path, group: int, image: str) -> Any:
    """The column of images of a row group."""
    if (path, group) not in _held:
        _held[path, group] = _pyarrow().ParquetFile(path).read_row_group(group, [image])[image]
        while len(_held) > 1 and sum(column.nbytes for column in _held.values()) > KEPT:
            _held.popitem(last=False)
    return _held[path, group]


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "Parquet files need pyarrow, which is not installed: pip install 'transferbench[parquet]'"
        ) from None
    return pyarrow.parquet
