"""Artifacts of records, read back only if they are unchanged."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image

from transferbench.records import Record, arrays
from transferbench.report.charts import MissingError


def predictions(record: Record, folder: Path) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """The labels and the predicted classes of the test images.

    Raises:
        MissingError: when they were not kept, or are not what was.
    """
    found = _arrays(record, "predictions", folder)
    try:
        return arrays.classes(found)
    except ValueError:
        raise MissingError(
            f"{_what(record)}: its predictions do not hold one class per image.", again(record)
        ) from None


def eigenvalues(record: Record, folder: Path) -> Float64[np.ndarray, "d"]:
    """The eigenvalues of the features' covariance, largest first.

    Raises:
        MissingError: when they were not kept, or are not what was.
    """
    values = _arrays(record, "spectrum", folder).get("eigenvalues", np.zeros(0))
    if values.ndim != 1 or values.dtype.kind != "f" or not len(values) or not np.isfinite(values).all():
        raise MissingError(f"{_what(record)}: its spectrum holds no eigenvalues.", again(record))
    return np.sort(values)[::-1]


def curve(record: Record, folder: Path) -> list[dict[str, float]]:
    """The numbers that were measured after each epoch.

    Raises:
        MissingError: when it was not kept, or is not what was.
    """
    content = _content(record, "curve", folder)
    try:
        lines = [json.loads(line) for line in content.decode().splitlines()]
        return [{str(k): float(v) for k, v in line.items() if isinstance(v, int | float)} for line in lines]
    except (ValueError, AttributeError, RecursionError, OverflowError):
        raise MissingError(f"{_what(record)}: its learning curve cannot be read.", again(record)) from None


def pictures(record: Record, folder: Path) -> Image.Image:
    """The sheet of test images that findings were drawn on.

    Raises:
        MissingError: when it was not kept, or is not what was.
    """
    try:
        return Image.open(io.BytesIO(_content(record, "pictures", folder))).convert("RGB")
    except OSError:
        raise MissingError(f"{_what(record)}: its pictures cannot be read.", again(record)) from None


def again(record: Record, task: str = "") -> str:
    """The command that makes a record's artifacts and cached features anew; of another task when one is named."""
    limit = f" --limit {record.limit}" if record.limit else ""
    split = f" --split {record.split}" if record.split else ""
    return f"evaluate {task or record.task} {record.candidate}=CHECKPOINT --data {record.dataset}{limit}{split} --again"


def _arrays(record: Record, name: str, folder: Path) -> dict[str, np.ndarray]:
    try:
        return arrays.arrays(_content(record, name, folder))
    except ValueError:
        raise MissingError(f"{_what(record)}: its {name} cannot be read.", again(record)) from None


def _content(record: Record, name: str, folder: Path) -> bytes:
    artifact = record.artifacts.get(name)
    if artifact is None:
        raise MissingError(f"{_what(record)}: no {name} was kept.", again(record))
    path = folder / artifact.path
    if not path.is_file():
        raise MissingError(f"{_what(record)}: {artifact.path} is not in {folder}.", again(record))
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != artifact.sha256:
        raise MissingError(
            f"{_what(record)}: {artifact.path} was changed or truncated, so it is left out.", again(record)
        )
    return content


def _what(record: Record) -> str:
    seed = f" (seed {record.seed})" if record.seed else ""
    return f"{record.dataset} {record.label}{seed}"
