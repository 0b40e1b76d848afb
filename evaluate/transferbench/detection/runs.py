"""COCO's run-length masks, read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool


def decoded(rle: Mapping[str, Any]) -> Bool[np.ndarray, "h w"]:
    """The mask that `{"size": [h, w], "counts": ...}` stands for; counts are numbers, or COCO's text of them.

    Runs go down the columns and start with background.

    Raises:
        ValueError: when the runs do not fill the image.
    """
    height, width = rle["size"]
    counts = rle["counts"]
    runs = _numbers(counts) if isinstance(counts, str | bytes) else list(counts)
    if sum(runs) != height * width:
        raise ValueError(f"a run-length mask of {sum(runs)} pixels for an image of {height} by {width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _numbers(text: str | bytes) -> Sequence[int]:
    """Runs from COCO's text.

    A character, less 48, holds five bits and a sixth for 'goes on', lowest first; the last one's highest bit is the
    sign. From the fourth run on they are differences from the run before the last.
    """
    symbols = text.encode() if isinstance(text, str) else text
    runs: list[int] = []
    value = shift = 0
    for symbol in symbols:
        bits = symbol - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
