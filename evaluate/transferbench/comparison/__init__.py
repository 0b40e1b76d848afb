"""Two results on the same test images, compared image by image; in the folder, two candidates task by task."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from transferbench import intervals
from transferbench.errors import UserError
from transferbench.intervals import Comparison
from transferbench.records import Record, arrays
from transferbench.records.experiments import Experiment

__all__ = ["Comparison", "compare", "hits", "kept"]


def compare(first: Record, second: Record, out: Path, second_out: Path | None = None) -> Comparison:
    """The second result against the first: difference of their main scores, paired interval, McNemar's test.

    Args:
        first: the record of a classifier.
        second: one of the same task under the same protocol on the same data, of another checkpoint or seed.
        out: the output folder of the first, where its artifacts are.
        second_out: that of the second, when it is another one.

    Raises:
        UserError: when they are not of one experiment, or their predictions are not there as they were recorded.
    """
    shared = (*Experiment._fields, "primary")
    differing = [name for name in shared if getattr(first, name) != getattr(second, name)]
    if differing:
        raise UserError(
            f"{first.candidate} and {second.candidate} cannot be compared image by image: they differ in "
            f"{', '.join(differing)}. Expected two results of one task under one protocol on the same images."
        )
    labels, predictions = kept(first, out)
    others, theirs = kept(second, second_out or out)
    if not np.array_equal(labels, others):
        raise UserError(f"{first.candidate} and {second.candidate} were tested on different labels.")
    by_class = labels if first.primary == "mean_per_class" else None
    return intervals.compare(predictions == labels, theirs == labels, by_class)


def hits(record: Record, out: Path) -> Bool[np.ndarray, "n"] | None:
    """Which test images the result got right; None where its predictions were not kept as they were recorded."""
    try:
        labels, predictions = kept(record, out)
    except UserError:
        return None
    return labels == predictions


def kept(record: Record, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The labels and the predictions that a record keeps, one a test image.

    Raises:
        UserError: when they are not in `out` as they were recorded, or are of another kind.
    """
    artifact = record.artifacts.get("predictions")
    path = out / artifact.path if artifact else None
    if artifact is None or path is None or not path.is_file():
        raise UserError(
            f"{record.candidate} {record.label}: its predictions are not in {out}. Run it again with --again."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != artifact.sha256:
        raise UserError(
            f"{path} has changed since the record of {record.candidate} was written. Run it again with --again."
        )
    try:
        return arrays.classes(arrays.arrays(content))
    except ValueError as error:
        raise UserError(f"{path}: {error}. Expected a classifier's result.") from None
