"""What a search asks of its rows, said once for every engine; and the rule for more neighbors than there are rows."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64

from transferbench.errors import UserError
from transferbench.neighbors.space import Matrix

LARGEST = 1e38
"""The largest magnitude of a number: float32 holds the differences of two such."""
SMALLEST = 1e-37
"""The least magnitude of a float64 row's largest number, but for zeros: float32 holds it."""
BLOCK = 2**22
"""How many numbers are looked at together."""


def capped(k: int, n: int) -> int:
    """How many neighbors are taken of n rows when k are asked for: all n where k is larger."""
    return min(k, n)


def require_searchable(bank: Matrix, queries: Matrix, k: int) -> None:
    """Refuse what no engine can rank; the bank is of training images, the queries of test images.

    Raises:
        UserError: when k is below 1, the bank is empty, the widths differ, or numbers are not finite, with how many
            images of which split.
    """
    if k < 1:
        raise UserError(f"k-NN was asked for {k} neighbors. Expected at least 1.")
    if not len(bank) or bank.shape[1] != queries.shape[1] or not bank.shape[1]:
        raise UserError(
            f"k-NN cannot search {len(bank)} training images with {bank.shape[1]} features each for test images with "
            f"{queries.shape[1]}. Expected at least one training image, and equally many features, at least one."
        )
    faults = [text for split, rows in (("training", bank), ("test", queries)) for text in _not_finite(split, rows)]
    if faults:
        raise UserError(
            f"k-NN cannot rank features that are not finite, or leave float32's range: {'; '.join(faults)}. Expected "
            f"finite numbers below {LARGEST:g}: the weights may have diverged or need another preprocessing."
        )


def _not_finite(split: str, rows: Matrix) -> Iterator[str]:
    bad = _bad(rows)
    if len(bad):
        yield f"{len(bad)} of {len(rows)} {split} images, the first of them number {bad[0]}, counted from 0"


def _bad(rows: Matrix) -> Int64[np.ndarray, "_"]:
    """Which rows hold a number that cannot be ranked."""
    step = max(1, BLOCK // rows.shape[1])
    parts = [start + np.flatnonzero(~_fits(rows[start : start + step])) for start in range(0, len(rows), step)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _fits(rows: Matrix) -> Bool[np.ndarray, "_"]:
    """Of each row whether its numbers are within the bounds; NaN is not."""
    highest, lowest = (each.astype(np.float64) for each in (rows.max(1), rows.min(1)))
    fits = (highest < LARGEST) & (lowest > -LARGEST)
    if rows.dtype == np.float64:
        most = np.maximum(highest, -lowest)
        fits &= (most == 0) | (most >= SMALLEST)
    return fits
