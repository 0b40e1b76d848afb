"""Which true class was taken for which, image by image, and predicted classes matched one to one with true ones."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int16, Int64

from transferbench.segmentation.scoring import PixelCounts

Confused = Int64[np.ndarray, "_ 3"]
"""Of one image: a true class, the class it was taken for, and of how many pixels; one row a pair."""


def confused(truth: Int16[np.ndarray, "h w"], predicted: Int64[np.ndarray, "h w"], size: int) -> Confused:
    """The pairs of an image; pixels whose true class is below 0 are in none."""
    has = truth >= 0
    counts = np.bincount(truth[has].astype(np.int64) * size + predicted[has], minlength=size * size)
    cells = np.flatnonzero(counts)
    return np.stack([cells // size, cells % size, counts[cells]], 1)


def matched(images: Sequence[Confused], size: int) -> Int64[np.ndarray, "_"]:
    """The true class that each predicted class stands for: those with the largest sum of IoU, each class once.

    open-hummingbird-eval hbird/utils/eval_metrics.py:143-159.
    """
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((size, size))
    for pairs in images:
        table[pairs[:, 0], pairs[:, 1]] += pairs[:, 2]
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    iou = np.divide(table, union, out=np.zeros_like(table), where=union > 0)
    true, taken = linear_sum_assignment(-iou)
    stands_for = np.zeros(size, np.int64)
    stands_for[taken] = true
    return stands_for


def counts_of(images: Sequence[Confused], stands_for: Int64[np.ndarray, "size"]) -> PixelCounts:
    """The counts by class, each predicted class counted as the true one that it stands for."""
    n, size = len(images), len(stands_for)
    right, labeled, predicted = (np.zeros((n, size), np.int64) for _ in range(3))
    for number, pairs in enumerate(images):
        true, taken, pixels = pairs[:, 0], stands_for[pairs[:, 1]], pairs[:, 2]
        np.add.at(labeled[number], true, pixels)
        np.add.at(predicted[number], taken, pixels)
        np.add.at(right[number], true[true == taken], pixels[true == taken])
    return PixelCounts(right, labeled, predicted)
