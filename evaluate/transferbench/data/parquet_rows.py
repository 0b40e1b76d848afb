"""The encoded images in a column of parquet files, row group by row group; the column may also name files."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from transferbench.data import decoding
from transferbench.errors import UserError

LARGEST = 2**36
"""Bytes of the images of a row group at most, which are unpacked together."""
MOST_ROWS = 2**22
"""Rows that a file may state whatever its size; a larger one has a byte for each."""
KEPT = 2**30
"""About how many bytes of row groups a process holds: of a larger split, images in a random order are slow to read."""

_held: OrderedDict[tuple[Path, int, int, str], Any] = OrderedDict()


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


class Groups:
    """The row groups of the files of a split, in their order.

    Args:
        files: each with its path, as pyarrow opens it.
    """

    def __init__(self, files: Sequence[tuple[Path, Any]]) -> None:
        self.places = tuple((path, g) for path, file in files for g in range(file.num_row_groups))
        self.about = [file.metadata.row_group(g) for _, file in files for g in range(file.num_row_groups)]
        self.starts = tuple(np.cumsum([0, *(group.num_rows for group in self.about)]).tolist())

    @property
    def rows(self) -> int:
        """How many rows are stated."""
        return self.starts[-1]

    def reader(self, column: str) -> ParquetReader:
        """Reads the images in a column."""
        return ParquetReader(column, self.starts[:-1], self.places)

    def marks(self, *columns: str) -> tuple[bytes, bytes]:
        """For fingerprints: rows and bytes of each group, and the sizes of the files that columns name."""
        sizes = [f"{group.num_rows} {group.total_byte_size}\n" for group in self.about]
        linked = (f"{size}\n" for column in columns for place in self.places for size in _linked(*place, column))
        return "".join(sizes).encode(), "".join(linked).encode()

    def digest(self, column: str) -> bytes:
        """A sha256 over all that is encoded in a column, or lies in the files that it names: read once, a group a time.

        Label maps need it: another number in each pixel may leave all sizes what they are.
        """
        found = hashlib.sha256()
        for path, group in self.places:
            for cell in pyarrow_files().ParquetFile(path).read_row_group(group, [column])[column]:
                content = content_of(cell.as_py(), path.parent)
                found.update(content.read_bytes() if isinstance(content, Path) else content)
        return found.digest()


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


def opened(parquet: ModuleType, path: Path) -> Any:
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


def _linked(path: Path, group: int, image: str) -> list[int]:
    """The sizes of the files that a row group names instead of holding them.

    Raises:
        ValueError: for a row with no image at all, a file that is not there, or a column that holds something else.
    """
    file = pyarrow_files().ParquetFile(path)
    about = file.metadata.row_group(group)
    parts = {part.path_in_schema: part for part in map(about.column, range(about.num_columns))}
    held, kind = parts.get(f"{image}.bytes", parts.get(image)), file.schema_arrow.field(image).type
    if not holds_images(kind):
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


def holds_images(kind: Any) -> bool:
    """Whether a column's type is that of bytes, or of a struct of bytes and path; either may be null throughout."""
    is_struct = str(kind).startswith("struct")
    parts = {field.name: str(field.type) for field in kind} if is_struct else {"bytes": str(kind)}
    encoded, named = (parts.get(part, "null").removeprefix("large_") for part in ("bytes", "path"))
    return encoded in ("binary", "null") and named in ("string", "null") and (encoded, named) != ("null", "null")


def _encoded(path: Path, group: int, image: str) -> Any:
    """The column of images of a row group."""
    key = path, group, path.stat().st_mtime_ns, image
    if key not in _held:
        _held[key] = pyarrow_files().ParquetFile(path).read_row_group(group, [image])[image]
        while len(_held) > 1 and sum(column.nbytes for column in _held.values()) > KEPT:
            _held.popitem(last=False)
    return _held[key]


def pyarrow_files() -> ModuleType:
    """The module that opens parquet files.

    Raises:
        UserError: when it is not installed.
    """
    try:
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "Parquet files need pyarrow, which is not installed: pip install 'transferbench[parquet]'"
        ) from None
    return pyarrow.parquet
