"""Parquet files in the Hugging Face image layout: a column of images with their encoded bytes, a column of labels.

A file belongs to the split in its name or in its folder's (`train-00000-of-00002.parquet`, `x-test.parquet`), and files
are taken in the order of their names. A row without bytes names its image's file, by a path from the root or from the
parquet file's folder. Where there are no labels and a second column holds images, these are label maps, as of `masks`;
what they hold is said in a `classes.json` beside the files. The fingerprint is a sha256 over the sizes of the row
groups, those of named files, and the labels or label maps.
"""

import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int64

from transferbench.data import DatasetInfo, LabeledImages, parquet_rows, row_maps
from transferbench.data.labels import Numbered, by_number, integers, listed
from transferbench.data.row_maps import IMAGE, LABEL, column
from transferbench.data.trees import SPLITS, files_by_split
from transferbench.errors import UserError, unknown

HELP = "your own: give the path of a folder of parquet files, train-*.parquet and test-*.parquet (needs pyarrow)"

LAYOUT = "Expected parquet files named by split, with a column of images (a struct with `bytes`) and one of labels."


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
    parquet = parquet_rows.pyarrow_files()
    try:
        return _labeled(parquet, where, files, split)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UserError(f"The parquet files in {where} cannot be read: {error}. {LAYOUT}") from None


def _labeled(parquet: ModuleType, where: Path, files: dict[str, list[Path]], split: str) -> LabeledImages:
    every = {name: [parquet_rows.opened(parquet, path) for path in paths] for name, paths in files.items()}
    opened, name = every[split], where.resolve().name
    image = column(opened[0].schema_arrow.names, IMAGE)
    groups = parquet_rows.Groups(list(zip(files[split], opened, strict=True)))
    kinds = {field.name: parquet_rows.holds_images(field.type) for field in opened[0].schema_arrow}
    if mask := row_maps.mask_column(kinds):
        rows = row_maps.MappedRows(groups.rows, groups.reader(image), groups.reader(mask), (image, mask))
        classes = row_maps.classes_beside(where)
        info = DatasetInfo(name, classes.classes, tuple(files), None, "local", "miou", "label maps")
        return row_maps.labeled(info, split, rows, b"".join(groups.marks(image, mask)) + groups.digest(mask), classes)
    label = column(every["train" if "train" in every else split][0].schema_arrow.names, LABEL)
    names = _names(opened, label)
    values = {
        part: _labels(each, label, f"{where}/{part}") for part, each in every.items() if part == split or not names
    }
    labels, classes, notes = Numbered(values[split], names) if names else by_number(name, values, split)
    if groups.rows != len(labels):
        raise ValueError(f"the column {label} of '{split}' holds {len(labels)} rows, and {groups.rows} are stated")
    sizes, linked = groups.marks(image)
    return LabeledImages(
        info=DatasetInfo(name, classes, tuple(files), None, "local"),
        split=split,
        labels=labels,
        read=groups.reader(image),
        names=[f"{split}/{i:07d}" for i in range(len(labels))],
        fingerprint=hashlib.sha256(sizes + labels.tobytes() + linked).hexdigest(),
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
    variants: set[tuple[str, ...]] = set()
    for file in files:
        noted = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        names = noted.get("info", {}).get("features", {}).get(label, {}).get("names")
        variants.add(tuple(names or ()))
    if len(variants) > 1:
        lists = "; ".join(listed(names) or "no names" for names in variants)
        raise ValueError(f"the files of one split name their classes differently: {lists}")
    return variants.pop()
