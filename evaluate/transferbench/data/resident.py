"""Small sets of small images, decoded once and held in memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from transferbench.data import LabeledImages
from transferbench.errors import UserError

LIMIT = 4 << 30
"""Bytes of pixels that are held at most."""
SIDE = 128
"""Larger images usually differ in size and are not tried."""
PIECE = 2048


def pixels(images: LabeledImages, threads: int = 1) -> UInt8[np.ndarray, "n h w 3"] | None:
    """All pixels of a set whose images are of one size and fit; None of any other, found out as early as possible.

    Images that cannot be decoded are left for whoever needs them to report: None.
    """
    try:
        first = images.pixels(0)
        if max(first.shape) > SIDE or first.nbytes * len(images) > LIMIT:
            return None
        with ThreadPoolExecutor(threads) as pool:
            return _decoded(images, first.shape, pool)
    except UserError:
        return None


def _decoded(
    images: LabeledImages, shape: tuple[int, ...], pool: ThreadPoolExecutor
) -> UInt8[np.ndarray, "n h w 3"] | None:
    held = np.empty((len(images), *shape), np.uint8)
    for start in range(0, len(images), PIECE):
        rows = range(start, min(len(images), start + PIECE))
        for row, own in zip(rows, pool.map(images.pixels, rows), strict=True):
            if own.shape != shape:
                return None
            held[row] = own
    return held
