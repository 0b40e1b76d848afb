"""Fill an outline as COCO's tools do, so that targets of masks agree with theirs to the pixel."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64

FINENESS = 5
"""Steps a pixel in which COCO's tools follow an outline."""


def filled(outlines: Sequence[Float[np.ndarray, "_ 2"]], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The union of outlines (x, y in pixels, closed by themselves) on a grid of `height` by `width`.

    An outline is followed in fifths of a pixel; wherever it passes the middle of a column, the pixels of that column
    below it change sides (cocoapi's `rleFrPoly`; the tests compare with pycocotools where it is installed).
    """
    mask = np.zeros((height, width), bool)
    for outline in outlines:
        mask |= _filled_one(outline, height, width)
    return mask


def _filled_one(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    corners = (FINENESS * outline + 0.5).astype(np.int64)
    x, y = np.concatenate([_steps(a, b) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]).T
    passes = np.flatnonzero(x[1:] != x[:-1])
    column = (np.minimum(x[passes], x[passes + 1]) + 0.5) / FINENESS - 0.5
    row = (np.minimum(y[passes], y[passes + 1]) + 0.5) / FINENESS - 0.5
    inside = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    row = np.ceil(row.clip(0, height))[inside].astype(np.int64)
    starts = np.bincount(column[inside].astype(np.int64) * height + row, minlength=height * width + 1)
    return (np.cumsum(starts[: height * width]) % 2).astype(bool).reshape(width, height).T


def _steps(start: Int64[np.ndarray, "2"], end: Int64[np.ndarray, "2"]) -> Int64[np.ndarray, "k 2"]:
    """The points of an edge, one a step along its longer side, from its start to its end.

    They are computed from the end with the smaller coordinate on the longer side, as the rounding depends on it.
    """
    length = np.abs(end - start)
    longer = 0 if length[0] >= length[1] else 1
    is_flipped = start[longer] > end[longer]
    first, last = (end, start) if is_flipped else (start, end)
    step = np.arange(length[longer] + 1)
    slope = (last - first)[1 - longer] / max(1, length[longer])
    points = np.empty((len(step), 2), np.int64)
    points[:, longer] = first[longer] + step
    points[:, 1 - longer] = (first[1 - longer] + slope * step + 0.5).astype(np.int64)
    return points[::-1] if is_flipped else points
