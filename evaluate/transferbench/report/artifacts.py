"""Artifacts of records, read back only if they are unchanged."""

import hashlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image

from transferbench.checkpoints import CONTROL
from transferbench.data import SOURCES, decoding
from transferbench.plugins import is_outside
from transferbench.records import Record, arrays
from transferbench.report.charts import MissingError
from transferbench.tasks import TASKS, examples, taken, takes


def predictions(record: Record, folder: Path) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """The labels and the predicted classes of the test images.

    Raises:
        MissingError: when they were not kept, or are not what was.
    """
    by_name = _arrays(record, "predictions", folder)
    try:
        return arrays.classes(by_name)
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


def by_class(record: Record, folder: Path) -> list[dict[str, Any]]:
    """What a segmentation task found of each class: `class`, `iou` (percent or None), `labeled`, `predicted` (pixels).

    Raises:
        MissingError: when it was not kept, or is not what was.
    """
    try:
        rows = json.loads(_content(record, "classes", folder))
        return [
            {
                "class": str(row["class"]),
                "iou": None if row["iou"] is None else float(row["iou"]),
                **{key: int(row[key]) for key in ("labeled", "predicted")},
            }
            for row in rows
        ]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise MissingError(f"{_what(record)}: its table of classes cannot be read.", again(record)) from None


def pictures(record: Record, folder: Path) -> Image.Image:
    """The sheet of test images that findings were drawn on.

    Raises:
        MissingError: when it was not kept, or is not what was.
    """
    try:
        return decoding.checked(decoding.opened(_content(record, "pictures", folder))).convert("RGB")
    except decoding.UNREADABLE:
        raise MissingError(f"{_what(record)}: its pictures cannot be read.", again(record)) from None


def again(record: Record) -> str:
    """The command that makes a record's artifacts and cached features anew."""
    return f"evaluate {record.task} {_model(record)} --data {_data(record)} --again"


def with_task(records: Sequence[Record], task: str) -> str:
    """The command that judges the checkpoint of some records by another task, on data that suit the task."""
    asked = TASKS.load(task)
    same = alike(task)
    labeled = [record for record in records if record.task in same]
    embedded = [] if takes(asked, "one label") else examples(asked)
    data = _data(labeled[0]) if labeled else next(iter(embedded), "LABELED")
    return f"evaluate {task} {_model(records[0])} --data {data}"


def alike(task: str) -> set[str]:
    """The tasks of the package that are for the same data as one of them."""
    kinds = taken(TASKS.load(task))
    return {name for name, each in TASKS.all() if taken(each) == kinds}


def _model(record: Record) -> str:
    """The checkpoint; of a control any whose architecture it shares, since it has no file and runs beside them."""
    if record.load_report.format == CONTROL:
        return "CHECKPOINT"
    return shlex.quote(f"{record.candidate}=CHECKPOINT")


def _data(record: Record) -> str:
    """The images of a record, whose folder records do not tell."""
    name = record.dataset
    is_named = is_outside(name) or name.replace("-", "_") in SOURCES.names()
    limit = f" --limit {record.limit}" if record.limit else ""
    split = f" --split {record.split}" if record.split else ""
    return (name if is_named else shlex.quote(f"PATH/{name}")) + limit + split


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
