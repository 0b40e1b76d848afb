"""A data set of images by its name for Hugging Face's `datasets`, such as `hf:uoft-cs/cifar10`; offline when cached.

The splits are its `train` and its `validation` or `test`. Where there are no labels and a second column holds images,
these are label maps, as of `masks`; what they hold is said in its `id2label.json` on the hub, or in a `classes.json` in
the folder that is named. The fingerprint is a sha256 over the labels or label maps and what the package states of the
split's size.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages, decoding, row_maps
from transferbench.data.labels import Numbered, by_number, integers
from transferbench.data.parquet_rows import content_of
from transferbench.data.row_maps import IMAGE, LABEL, column
from transferbench.data.trees import SPLITS, WORDS, one_each
from transferbench.errors import UserError, unknown

HELP = "any on the hub: hf:OWNER/NAME (needs the package datasets; without a network only what is cached)"


@dataclass(frozen=True)
class HubReader:
    """Decodes the i-th row of a split."""

    rows: Any
    column: str

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`."""
        content = content_of(self.rows[index][self.column], Path())
        return decoding.opened(content.read_bytes() if isinstance(content, Path) else content)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split of the data set called `where`.

    Raises:
        UserError: without the package, or when the data set is neither cached nor to be had, or holds something else.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    with reading(where, "labeled images", "with a column of images and one of labels") as datasets:
        return _labeled(datasets, where, rows_by_split(datasets, where), split)


@contextmanager
def reading(where: Path, what: str, expected: str) -> Iterator[Any]:
    """The package `datasets`; what it raises in the block says that `what` is not there, and what is `expected`.

    Raises:
        UserError: without the package, or for what is raised in the block.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"'hf:{where}' needs the package datasets, which is not installed: pip install datasets"
        ) from None
    try:
        yield datasets
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        raise UserError(
            f"'hf:{where}' gives no {what}: {error} Expected the name of a data set that is cached or can be "
            f"downloaded, {expected}."
        ) from None


def rows_by_split(datasets: Any, where: Path) -> dict[str, Any]:
    """The rows of each split that the data set called `where` has."""
    splits = datasets.load_dataset(where.as_posix())
    chosen = one_each((WORDS[str(name)], str(name)) for name in splits if str(name) in WORDS)
    return {split: splits[name] for split, name in chosen.items()}


def _labeled(datasets: Any, where: Path, rows: dict[str, Any], split: str) -> LabeledImages:
    if split not in rows:
        raise ValueError(f"no split '{split}' among {', '.join(rows)}.")
    image = column(rows[split].column_names, IMAGE)
    kinds = {name: type(kind).__name__ == "Image" for name, kind in rows[split].features.items()}
    if mask := row_maps.mask_column(kinds):
        return _mapped(datasets, where, rows, split, (image, mask))
    label = column(rows["train" if "train" in rows else split].column_names, LABEL)
    names = tuple(getattr(rows[split].features.get(label), "names", None) or ())
    values = {part: _labels(rows[part], label, f"hf:{where}/{part}") for part in rows if part == split or not names}
    labels, classes, notes = Numbered(values[split], names) if names else by_number(where.name, values, split)
    mark = hashlib.sha256(stated(where, rows[split]) + labels.tobytes())
    return LabeledImages(
        info=DatasetInfo(where.name, classes, tuple(rows), None, str(rows[split].info.version)),
        split=split,
        labels=labels,
        read=reader(datasets, rows[split], image),
        names=[f"{split}/{i:07d}" for i in range(len(labels))],
        fingerprint=mark.hexdigest(),
        notes=notes,
    )


def _mapped(datasets: Any, where: Path, rows: dict[str, Any], split: str, columns: tuple[str, str]) -> LabeledImages:
    """A split whose second column of images holds label maps."""
    mine = rows[split]
    images, masks = (reader(datasets, mine, name) for name in columns)
    classes = row_maps.classes_beside(where) if where.is_dir() else row_maps.classes_on_hub(where.as_posix())
    info = DatasetInfo(where.name, classes.classes, tuple(rows), None, str(mine.info.version), "miou", "label maps")
    found = row_maps.MappedRows(len(mine), images, masks, columns)
    return row_maps.labeled(info, split, found, stated(where, mine) + _digest(masks), classes)


def reader(datasets: Any, rows: Any, column: str) -> HubReader:
    """Reads the images in a column."""
    return HubReader(rows.cast_column(column, datasets.Image(decode=False)), column)


def _digest(masks: HubReader) -> bytes:
    """A sha256 over the encoded label maps, which may differ where no size does."""
    found = hashlib.sha256()
    for row in masks.rows.select_columns([masks.column]):
        content = content_of(row[masks.column], Path())
        found.update(content.read_bytes() if isinstance(content, Path) else content)
    return found.digest()


def stated(where: Path, rows: Any) -> bytes:
    """The name, and what is stated of the split's size."""
    return f"{where} {rows.info.splits[str(rows.split)].num_bytes}\n".encode()


def _labels(rows: Any, label: str, where: str) -> Int64[np.ndarray, "n"]:
    """The labels of a split; -1 for the images of one without that column."""
    if label not in rows.column_names:
        return np.full(len(rows), -1, np.int64)
    return integers(rows[label][:], f"{where}, column {label}")
