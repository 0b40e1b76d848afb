"""A data set of images by its name for Hugging Face's `datasets`, such as `hf:uoft-cs/cifar10`; offline when cached.

The splits are its `train` and its `validation` or `test`. The fingerprint is a sha256 over the labels and what the
package states of the split's size.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.sources.parquet import IMAGE, LABEL, column
from transferbench.data.trees import SPLITS, WORDS
from transferbench.errors import UserError, unknown

HELP = "any on the hub: hf:OWNER/NAME (needs the package datasets; without a network only what is cached)"


@dataclass(frozen=True)
class Reader:
    """Decodes the i-th row of a split."""

    rows: Any
    column: str

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`."""
        value = self.rows[index][self.column]
        return Image.open(io.BytesIO(value["bytes"]) if value["bytes"] else value["path"])


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
        found = datasets.load_dataset(where.as_posix())
        rows = {WORDS[str(name)]: found[name] for name in found if str(name) in WORDS}
        return _labeled(datasets, where, rows, split)
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        raise UserError(
            f"'hf:{where}' gives no labeled images: {error} Expected the name of a data set that is cached or can be "
            "downloaded, with a column of images and one of labels."
        ) from None


def _labeled(datasets: Any, where: Path, rows: dict[str, Any], split: str) -> LabeledImages:
    if split not in rows:
        raise ValueError(f"no split '{split}' among {', '.join(rows)}.")
    names = rows[split].column_names
    image, label = column(names, IMAGE), column(names, LABEL)
    labels = np.asarray(rows[split][label], np.int64)
    feature = rows[split].features[label]
    classes = getattr(feature, "names", None) or map(
        str, range(1 + max(int(np.max(part[label])) for part in rows.values()))
    )
    mark = hashlib.sha256(f"{where} {rows[split].info.splits[split].num_bytes}\n".encode() + labels.tobytes())
    return LabeledImages(
        info=DatasetInfo(where.name, tuple(classes), tuple(rows), None, str(rows[split].info.version)),
        split=split,
        labels=labels,
        read=Reader(rows[split].cast_column(image, datasets.Image(decode=False)), image),
        names=[f"{split}/{i:07d}" for i in range(len(labels))],
        fingerprint=mark.hexdigest(),
    )
