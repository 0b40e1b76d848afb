"""A data set of images by its name for Hugging Face's `datasets`, such as `hf:uoft-cs/cifar10`; offline when cached.

The splits are its `train` and its `validation` or `test`. The fingerprint is a sha256 over the labels and what the
package states of the split's size.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages, decoding
from transferbench.data.labels import Numbered, by_number, integers
from transferbench.data.sources.parquet import IMAGE, LABEL, column, content_of
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
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"'hf:{where}' needs the package datasets, which is not installed: pip install datasets"
        ) from None
    try:
        splits = datasets.load_dataset(where.as_posix())
        chosen = one_each((WORDS[str(name)], str(name)) for name in splits if str(name) in WORDS)
        rows = {split: splits[name] for split, name in chosen.items()}
        return _labeled(datasets, where, rows, split)
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        raise UserError(
            f"'hf:{where}' gives no labeled images: {error} Expected the name of a data set that is cached or can be "
            "downloaded, with a column of images and one of labels."
        ) from None


def _labeled(datasets: Any, where: Path, rows: dict[str, Any], split: str) -> LabeledImages:
    if split not in rows:
        raise ValueError(f"no split '{split}' among {', '.join(rows)}.")
    image = column(rows[split].column_names, IMAGE)
    label = column(rows["train" if "train" in rows else split].column_names, LABEL)
    names = tuple(getattr(rows[split].features.get(label), "names", None) or ())
    values = {part: _labels(rows[part], label, f"hf:{where}/{part}") for part in rows if part == split or not names}
    labels, classes, notes = Numbered(values[split], names) if names else by_number(where.name, values, split)
    size = rows[split].info.splits[str(rows[split].split)].num_bytes
    mark = hashlib.sha256(f"{where} {size}\n".encode() + labels.tobytes())
    return LabeledImages(
        info=DatasetInfo(where.name, classes, tuple(rows), None, str(rows[split].info.version)),
        split=split,
        labels=labels,
        read=HubReader(rows[split].cast_column(image, datasets.Image(decode=False)), image),
        names=[f"{split}/{i:07d}" for i in range(len(labels))],
        fingerprint=mark.hexdigest(),
        notes=notes,
    )


def _labels(rows: Any, label: str, where: str) -> Int64[np.ndarray, "n"]:
    """The labels of a split; -1 for the images of one without that column."""
    if label not in rows.column_names:
        return np.full(len(rows), -1, np.int64)
    return integers(rows[label][:], f"{where}, column {label}")
