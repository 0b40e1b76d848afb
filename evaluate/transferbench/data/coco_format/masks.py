"""The masks of COCO's files: outlines in the shapes that people write them in, and run lengths of the image's size."""

import math
from array import array
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from transferbench.data.coco_format.values import EntryError, shown
from transferbench.data.run_lengths import runs

FAR = 10
"""How many times the image's longer side a coordinate may lie from its corner; beyond, an outline takes any memory."""

EXPECTED = "expected outlines [[x, y, x, y, ...], ...] or run lengths {size, counts}"


def compact(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with its outlines as arrays, a tenth of the lists' size: made while the file is read.

    What cannot be read as outlines stays as it is, to be told with the entry's id.
    """
    mask = entry.get("segmentation")
    if isinstance(mask, list):
        with suppress(TypeError, ValueError, OverflowError):
            entry["segmentation"] = _arrays(mask)
    return entry


def mask_of(entry: Mapping[str, Any], size: tuple[int, int]) -> list[array] | Mapping[str, Any] | None:
    """The mask of an object in an image of that height and width; None where none is annotated.

    Of outlines those with three corners or more, as in Detectron2; `[]` where there are outlines and none is such.

    Raises:
        EntryError: for another shape, numbers that are not finite or far outside, run lengths of another size.
    """
    mask = entry.get("segmentation")
    if not mask and isinstance(mask, list | dict | None):
        return None
    if isinstance(mask, list) and all(isinstance(each, array) for each in mask):
        return _enclosing(mask, size)
    if isinstance(mask, dict):
        return _run_lengths(mask, size)
    raise EntryError(f"has the segmentation {shown(mask)}; {EXPECTED}")


def within(low: float, high: float, size: tuple[int, int], key: str) -> None:
    """Refuse coordinates from `low` to `high` that lie far outside the image."""
    far = FAR * max(size)
    if not (-far <= low and high <= far):
        raise EntryError(
            f"has {low:g} to {high:g} in its {key}, far outside its image of {size[1]} x {size[0]}; expected pixels"
        )


def _arrays(mask: list[Any]) -> list[array]:
    """Outlines from a list of them, each flat or of pairs, or from a single one."""
    if mask and (_is_number(mask[0]) or all(_is_pair(each) for each in mask)):
        mask = [mask]
    return [array("d", _flat(outline)) for outline in mask]


def _flat(outline: Any) -> list[Any]:
    if not isinstance(outline, list):
        raise TypeError("an outline that is no list")
    if outline and isinstance(outline[0], list):
        if not all(_is_pair(each) for each in outline):
            raise ValueError("corners that are no pairs")
        return [value for pair in outline for value in pair]
    return outline


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _is_number(value[0]) and _is_number(value[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _enclosing(outlines: list[array], size: tuple[int, int]) -> list[array]:
    kept = [each for each in outlines if len(each) >= 6 and len(each) % 2 == 0]
    for outline in kept:
        if not math.isfinite(sum(outline)):
            raise EntryError(f"has an outline with numbers that are not finite; {EXPECTED}")
        within(min(outline), max(outline), size, "outlines")
    return kept


def _run_lengths(mask: Mapping[str, Any], size: tuple[int, int]) -> Mapping[str, Any]:
    stated, counts = mask.get("size"), mask.get("counts")
    if not isinstance(stated, list) or counts is None:
        raise EntryError(f"has the segmentation {shown(mask)}; {EXPECTED}")
    if stated != list(size):
        swapped = " (width and height are swapped)" if stated == [*reversed(size)] else ""
        raise EntryError(
            f"has run lengths of the size {shown(stated)}{swapped}; expected [height, width] of its image, {list(size)}"
        )
    try:
        lengths = runs(counts)
    except ValueError as error:
        raise EntryError(f"has run lengths with {error}") from None
    if (total := sum(lengths)) != size[0] * size[1]:
        raise EntryError(
            f"has run lengths of {total} pixels in all; its image of {size[1]} x {size[0]} has {size[0] * size[1]}"
        )
    return {"size": list(size), "counts": counts if isinstance(counts, str | bytes) else list(lengths)}
