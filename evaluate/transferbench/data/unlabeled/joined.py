"""Several data sets as one, without labels: one after the other, in the order they are named in."""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from PIL import Image

from transferbench.data import LabeledImages
from transferbench.data.unlabeled.bare import bare
from transferbench.errors import UserError


@dataclass(frozen=True)
class JoinedReader:
    """Opens the i-th image of some data sets; `starts` is the first image of each."""

    starts: tuple[int, ...]
    readers: tuple[Callable[[int], Image.Image], ...]

    def __call__(self, index: int) -> Image.Image:
        """Open image `index`."""
        part = bisect_right(self.starts, index) - 1
        return self.readers[part](index - self.starts[part])


def joined(parts: Sequence[LabeledImages]) -> LabeledImages:
    """The images of all parts, named by the parts that they are of.

    Raises:
        UserError: when parts with images of more than 8 bits a channel differ in what is black and white.
    """
    ranges = {part.info.image_range for part in parts}
    if len(ranges) > 1:
        raise UserError(
            f"{', '.join(part.info.name for part in parts)} differ in the values of black and white: "
            f"{', '.join(map(str, ranges))}. Expected the same, or one of them alone."
        )
    starts = tuple(accumulate((len(part) for part in parts[:-1]), initial=0))
    called = [part.info.name for part in parts]
    own = [f"{name} ({called[:i].count(name) + 1})" if name in called[:i] else name for i, name in enumerate(called)]
    images = bare(
        "+".join(own),
        [f"{name}/{each}" for name, part in zip(own, parts, strict=True) for each in part.names],
        JoinedReader(starts, tuple(part.read for part in parts)),
        hashlib.sha256("\n".join(f"{len(part)} {part.fingerprint}" for part in parts).encode()).hexdigest(),
        np.concatenate([_marks(part) for part in parts]) if any(part.marks is not None for part in parts) else None,
        [note for part in parts for note in part.notes],
    )
    return replace(images, info=replace(images.info, image_range=ranges.pop()))


def _marks(part: LabeledImages) -> np.ndarray:
    return np.zeros(len(part), np.uint64) if part.marks is None else part.marks
