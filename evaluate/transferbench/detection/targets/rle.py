"""COCO's run-length masks: made by pycocotools, read here."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from transferbench.errors import UserError


def library() -> ModuleType:
    """`pycocotools.mask`.

    Raises:
        UserError: when it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError:
        raise UserError(
            "Masks and COCO's precision need pycocotools. Install it with: pip install pycocotools"
        ) from None
    return mask


def compact(mask: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Outlines or run lengths of any kind as one compressed code."""
    if not isinstance(mask, Mapping):
        return library().merge(library().frPyObjects(mask, *size))
    return dict(mask) if isinstance(mask["counts"], str | bytes) else library().frPyObjects(dict(mask), *size)


def encode(bitmap: Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"]) -> dict[str, Any]:
    """The compressed code, its counts as text so that JSON can hold it."""
    code = library().encode(np.asfortranarray(bitmap, dtype=np.uint8))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


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
