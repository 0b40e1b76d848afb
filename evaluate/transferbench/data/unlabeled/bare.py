"""Images that carry nothing: one split, `train`, of no classes."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt64
from PIL import Image

from transferbench.data import LOCAL, DatasetInfo, LabeledImages


def bare(
    name: str,
    names: Sequence[str],
    read: Callable[[int], Image.Image],
    fingerprint: str,
    marks: UInt64[np.ndarray, "n"] | None = None,
    notes: Sequence[str] = (),
) -> LabeledImages:
    """Images of these names, in this order, as a data set called `name`."""
    info = DatasetInfo(name, (), ("train",), None, LOCAL)
    labels = np.full(len(names), -1, np.int64)
    return LabeledImages(info, "train", labels, read, names, fingerprint, notes=tuple(notes), marks=marks)
