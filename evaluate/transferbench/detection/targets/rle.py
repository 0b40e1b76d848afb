"""COCO's run-length masks: made by pycocotools, read here."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from transferbench.data.run_lengths import runs
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
    lengths = runs(rle["counts"])
    if sum(lengths) != height * width:
        raise ValueError(f"a run-length mask of {sum(lengths)} pixels for an image of {height} by {width}")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T
