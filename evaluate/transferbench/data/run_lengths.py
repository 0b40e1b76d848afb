"""COCO's run lengths as numbers, refused where they cannot be a mask: nothing of a mask's size is made."""

from collections.abc import Sequence
from typing import Any

LONGEST = 60
"""Bits that a run can have; COCO's tools hold runs in 32."""


def runs(counts: Any) -> Sequence[int]:
    """The runs of a mask, which are given as numbers or as COCO's text of them.

    Raises:
        ValueError: for anything else, and for a run below 0.
    """
    lengths = _of_text(counts) if isinstance(counts, str | bytes) else _whole(counts)
    if lengths and min(lengths) < 0:
        raise ValueError(f"a run of {min(lengths)} pixels")
    return lengths


def _whole(counts: Any) -> Sequence[int]:
    if not isinstance(counts, list | tuple):
        raise ValueError(f"runs that are neither numbers nor COCO's text of them, but {type(counts).__name__}")
    if all(type(each) is int for each in counts):
        return counts
    strange = [each for each in counts if isinstance(each, bool) or not _is_whole(each)]
    if strange:
        raise ValueError(f"a run of {strange[0]!r:.60} pixels")
    return [int(each) for each in counts]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _of_text(text: str | bytes) -> Sequence[int]:
    """Runs from COCO's text.

    A character, less 48, holds five bits and a sixth for 'goes on', lowest first; the last one's highest bit is the
    sign. From the fourth run on they are differences from the run before the last.
    """
    symbols = text.encode(errors="replace") if isinstance(text, str) else text
    lengths: list[int] = []
    value = shift = 0
    for symbol in symbols:
        bits = symbol - 48
        if not 0 <= bits < 64 or shift > LONGEST:
            raise ValueError("text that is no code of runs")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("text that breaks off inside a run")
    return lengths
