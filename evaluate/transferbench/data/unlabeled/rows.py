"""Rows with a column of images and none of labels: parquet files, or a data set of the package `datasets`."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transferbench.data import LabeledImages, parquet_rows, row_maps
from transferbench.data.row_maps import IMAGE, LABEL, column
from transferbench.data.sources import huggingface
from transferbench.data.unlabeled.bare import bare
from transferbench.errors import UserError

LAYOUT = "Expected parquet files with a column of images (a struct with `bytes`)."


def has_labels(path: Path) -> bool:
    """Whether a parquet file has a column of labels or of label maps; one that cannot be read has, to be refused later.

    Raises:
        UserError: without pyarrow.
    """
    try:
        schema = parquet_rows.pyarrow_files().read_schema(path)
    except (OSError, ValueError, TypeError, LookupError):
        return True
    kinds = {each.name: parquet_rows.holds_images(each.type) for each in schema}
    return bool(set(LABEL) & set(kinds)) or row_maps.mask_column(kinds) is not None


def opened(name: str, paths: Sequence[Path]) -> LabeledImages:
    """The images in some parquet files, in the order of their names; a column of labels is left out.

    Raises:
        UserError: without pyarrow, or when a file cannot be read or is laid out in another way.
    """
    parquet = parquet_rows.pyarrow_files()
    try:
        files = [(path, parquet_rows.opened(parquet, path)) for path in sorted(paths)]
        image = column(files[0][1].schema_arrow.names, IMAGE)
        groups = parquet_rows.Groups(files)
        mark = hashlib.sha256(b"".join(groups.marks(image)))
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UserError(f"The parquet files of {name} cannot be read: {error}. {LAYOUT}") from None
    if not groups.rows:
        raise UserError(f"The parquet files of {name} hold no rows. {LAYOUT}")
    return bare(name, [f"{i:07d}" for i in range(groups.rows)], groups.reader(image), mark.hexdigest())


def of_hub(where: Path) -> LabeledImages | None:
    """The training images of a data set of `datasets` without labels; None where it has some, or no such images.

    Raises:
        UserError: without the package, or when the data set is neither cached nor to be had.
    """
    with huggingface.reading(where, "images", "with a column of images") as datasets:
        rows = huggingface.rows_by_split(datasets, where).get("train")
        if rows is None or set(LABEL) & set(rows.column_names):
            return None
        kinds = {name: type(kind).__name__ == "Image" for name, kind in rows.features.items()}
        if row_maps.mask_column(kinds) is not None:
            return None
        read = huggingface.reader(datasets, rows, column(rows.column_names, IMAGE))
        mark = hashlib.sha256(huggingface.stated(where, rows) + f"{len(rows)}".encode())
        images = bare(where.name, [f"{i:07d}" for i in range(len(rows))], read, mark.hexdigest())
        return replace(images, info=replace(images.info, revision=str(rows.info.version)))
