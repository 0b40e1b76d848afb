"""Parquet files in the Hugging Face image layout: a column of images with their encoded bytes, a column of labels.

A file belongs to the split in its name or in its folder's (`train-00000-of-00002.parquet`, `x-test.parquet`), and files
are taken in the order of their names. A row without bytes names its image's file, by a path from the root or from the
parquet file's folder. The fingerprint is a sha256 over the sizes of the row groups, those of named files, and the
labels.
"""

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int64
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages, decoding
from transferbench.data.labels import Numbered, by_number, integers, listed
from transferbench.data.trees import SPLITS, files_by_split
from transferbench.errors import UserError, unknown

HELP = "your own: give the path of a folder of parquet files, train-*.parquet and test-*.parquet (needs pyarrow)"

LAYOUT = "Expected parquet files named by split, with a column of images (a struct with `bytes`) and one of labels."
IMAGE = ("image", "img", "jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif")
LABEL = ("label", "labels", "fine_label", "cls")
"""What the columns may be called."""
LARGEST = 2**36
"""Bytes of the images of a row group at most, which are unpacked together."""
MOST_ROWS = 2**22
"""Rows that a file may state whatever its size; a larger one has a byte for each."""
KEPT = 2**30
"""About how many bytes of row groups a process holds: of a larger split, images in a random order are slow to read."""

_held: OrderedDict[tuple[Path, int, int], Any] = OrderedDict()


@dataclass(frozen=True)
class ParquetReader:
    """Decodes the i-th image of some files; `starts` is the first image of each row group, `groups` where it lies."""

    column: str
    starts: tuple[int, ...]
    groups: tuple[tuple[Path, int], ...]

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`."""
        place = int(np.searchsorted(self.starts, index, side="right")) - 1
        path, group = self.groups[place]
        rows = _encoded(path, group, self.column)
        if index - self.starts[place] >= len(rows):
            raise ValueError(f"row group {group} of {path} holds {len(rows)} rows, fewer than its footer states")
        cell = rows[index - self.starts[place]].as_py()
        content = content_of(cell, path.parent)
        return decoding.opened(content.read_bytes() if isinstance(content, Path) else content)


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
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UserError(f"The parquet files in {where} cannot be read: {error}. {LAYOUT}") from None


def column(names: list[str], known: tuple[str, ...]) -> str:
    """The first of the known names that is there."""
    held = next((name for name in known if name in names), None)
    if held is None:
        raise ValueError(f"no column {' or '.join(known)} among {', '.join(names)}")
    return held


def content_of(value: Any, folder: Path) -> bytes | Path:
    """The encoded bytes in a cell, or the file that it names, with paths that begin in `folder`.

    Raises:
        ValueError: for an empty cell, or a path at which there is no file.
    """
    if not isinstance(value, dict):
        value = {"bytes": value}
    if (content := value.get("bytes")) is not None:
        return content
    if not (named := value.get("path")):
        raise ValueError("there is no image, neither bytes nor a path")
    path = folder / named
    if not path.is_file():
        raise ValueError(f"there are no bytes, and no file at the path that stands for them: {path}")
    return path


def _labeled(parquet: ModuleType, where: Path, files: dict[str, list[Path]], split: str) -> LabeledImages:
    every = {name: [_opened(parquet, path) for path in paths] for name, paths in files.items()}
    opened, name = every[split], where.resolve().name
    image = column(opened[0].schema_arrow.names, IMAGE)
    label = column(every["train" if "train" in every else split][0].schema_arrow.names, LABEL)
    names = _names(opened, label)
    values = {
        part: _labels(each, label, f"{where}/{part}") for part, each in every.items() if part == split or not names
    }
    labels, classes, notes = Numbered(values[split], names) if names else by_number(name, values, split)
    groups = [(path, g) for path, file in zip(files[split], opened, strict=True) for g in range(file.num_row_groups)]
    about = [file.metadata.row_group(g) for file in opened for g in range(file.num_row_groups)]
    sizes = np.cumsum([0, *(group.num_rows for group in about)])
    if sizes[-1] != len(labels):
        raise ValueError(f"the column {label} of '{split}' holds {len(labels)} rows, and {sizes[-1]} are stated")
    mark = "".join(f"{group.num_rows} {group.total_byte_size}\n" for group in about).encode() + labels.tobytes()
    mark += "".join(f"{size}\n" for path, group in groups for size in _linked(path, group, image)).encode()
    return LabeledImages(
        info=DatasetInfo(name, classes, tuple(files), None, "local"),
        split=split,
        labels=labels,
        read=ParquetReader(image, tuple(sizes[:-1].tolist()), tuple(groups)),
        names=[f"{split}/{i:07d}" for i in range(len(labels))],
        fingerprint=hashlib.sha256(mark).hexdigest(),
        notes=notes,
    )


def _opened(parquet: ModuleType, path: Path) -> Any:
    """A file whose footer states as many rows as its row groups, and no more than a file of its size can hold.

    Raises:
        ValueError: for any other.
    """
    file = parquet.ParquetFile(path)
    about = file.metadata
    rows = sum(about.row_group(g).num_rows for g in range(about.num_row_groups))
    most = max(MOST_ROWS, path.stat().st_size)
    if rows != about.num_rows or not 0 <= rows <= most:
        raise ValueError(f"{path} states {about.num_rows:,} rows and row groups of {rows:,}; it can hold {most:,}")
    return file


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
    variants: set[tuple[str, ...]] = set()
    for file in files:
        noted = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        names = noted.get("info", {}).get("features", {}).get(label, {}).get("names")
        variants.add(tuple(names or ()))
    if len(variants) > 1:
        lists = "; ".join(listed(names) or "no names" for names in variants)
        raise ValueError(f"the files of one split name their classes differently: {lists}")
    return variants.pop()


def _linked(path: Path, group: int, image: str) -> list[int]:
    """The sizes of the files that a row group names instead of holding them.

    Raises:
        ValueError: for a row with no image at all, a file that is not there, or a column that holds something else.
    """
    file = _pyarrow().ParquetFile(path)
    about = file.metadata.row_group(group)
    parts = {part.path_in_schema: part for part in map(about.column, range(about.num_columns))}
    held, kind = parts.get(f"{image}.bytes", parts.get(image)), file.schema_arrow.field(image).type
    if not _holds_images(kind):
        raise ValueError(
            f"the column {image} of {path} holds {kind}, and images are expected: encoded bytes, or a struct of "
            "`bytes` and `path`"
        )
    if held and held.total_uncompressed_size > LARGEST:
        raise ValueError(f"a row group of {path} states {held.total_uncompressed_size:,} bytes, more than {LARGEST:,}")
    if held and held.statistics and held.statistics.null_count == 0:
        return []
    sizes: list[int] = []
    for row, value in enumerate(file.read_row_group(group, [image])[image]):
        try:
            content = content_of(value.as_py(), path.parent)
        except ValueError as error:
            raise ValueError(f"row {row} of row group {group} of {path}: {error}") from None
        sizes += [content.stat().st_size] if isinstance(content, Path) else []
    return sizes


def _holds_images(kind: Any) -> bool:
    """Whether a column's type is that of bytes, or of a struct of bytes and path; either may be null throughout."""
    is_struct = str(kind).startswith("struct")
    parts = {field.name: str(field.type) for field in kind} if is_struct else {"bytes": str(kind)}
    encoded, named = (parts.get(part, "null").removeprefix("large_") for part in ("bytes", "path"))
    return encoded in ("binary", "null") and named in ("string", "null") and (encoded, named) != ("null", "null")


def _encoded(path: Path, group: int, image: str) -> Any:
    """The column of images of a row group."""
    key = path, group, path.stat().st_mtime_ns
    if key not in _held:
        _held[key] = _pyarrow().ParquetFile(path).read_row_group(group, [image])[image]
        while len(_held) > 1 and sum(column.nbytes for column in _held.values()) > KEPT:
            _held.popitem(last=False)
    return _held[key]


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "Parquet files need pyarrow, which is not installed: pip install 'transferbench[parquet]'"
        ) from None
    return pyarrow.parquet
