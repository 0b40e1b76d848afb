"""One pass over a split that somebody hands over: its pixels and labels, and a reader that holds it to them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int8, Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset

from transferbench import stopping
from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.live_pixels import LiveImage, mark, picture
from transferbench.errors import UserError

TWICE = 8
"""Images of a split that are read twice at first: whether they stay the same."""
PAIRS = "a map-style data set of pairs (image, label), or a tuple (images, labels)"


@dataclass(frozen=True)
class LiveReader:
    """Reads image i again, which has to be the one it was."""

    source: Any
    where: str
    marks: UInt8[np.ndarray, "n 32"]

    def __call__(self, index: int) -> Image.Image:
        """Image `index`; a UserError where it has other pixels than when it was handed over."""
        image = _item(self.source, index, self.where)[0].image
        if mark(image) != self.marks[index].tobytes():
            raise _changed(index, self.where)
        return image


@dataclass(frozen=True)
class LiveContents:
    """What one pass over a split found; `moved` as in `LiveImage`, `classes` those that the data set states."""

    source: Any
    where: str
    labels: list[Any]
    marks: UInt8[np.ndarray, "n 32"]
    sizes: set[tuple[int, int]]
    moved: float
    classes: tuple[str, ...] | None

    def images(
        self, info: DatasetInfo, labels: Int64[np.ndarray, "n"], targets: Int8[np.ndarray, "n c"] | None = None
    ) -> LabeledImages:
        """The split with these labels."""
        (width, height), *others = self.sizes
        known = replace(info, image_size=None if others or width != height else width)
        split = self.where.rpartition("/")[2]
        content = self.marks.tobytes() + labels.tobytes() + (b"" if targets is None else targets.tobytes())
        return LabeledImages(
            info=known,
            split=split,
            labels=labels,
            read=LiveReader(self.source, self.where, self.marks),
            names=[f"{split}/{i:07d}" for i in range(len(labels))],
            fingerprint=hashlib.sha256(content).hexdigest(),
            targets=targets,
            marks=self.marks[:, :8].copy().view(np.uint64).ravel(),
        )


class _Pairs:
    """Images and labels beside each other, as a data set of pairs."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.labels[index]


def source_of(given: Any, where: str) -> Any:
    """A data set of pairs."""
    if isinstance(given, tuple):
        sizes = [len(each) if _is_sized(each) else None for each in given]
        if len(sizes) != 2 or None in sizes or sizes[0] != sizes[1]:
            told = ", ".join(f"{type(each).__name__} of {size}" for each, size in zip(given, sizes, strict=True))
            raise UserError(f"{where} is a tuple ({told}). Expected (images, labels), as many of both.")
        given = _Pairs(*given)
    if hasattr(given, "dataset") and not hasattr(given, "__getitem__"):
        raise UserError(f"{where} is a {type(given).__name__}. Hand over its data set: loader.dataset.")
    if isinstance(given, str | Mapping | Tensor | np.ndarray) or not (
        _is_sized(given) and hasattr(given, "__getitem__")
    ):
        raise UserError(f"{where} is a {type(given).__name__}. Expected {PAIRS}.")
    if not len(given):
        raise UserError(f"{where} has no images. Expected {PAIRS}, with at least one.")
    return given


def _is_sized(value: Any) -> bool:
    try:
        return len(value) >= 0
    except (TypeError, NotImplementedError):
        return False


def contents(source: Any, where: str) -> LiveContents:
    """One pass over a split, of which the first images are read twice."""
    labels, sizes, top, moved = [], set(), 0.0, 0.0
    marks = np.empty((len(source), 32), np.uint8)
    for i in range(len(source)):
        stopping.check()
        found, label = _item(source, i, where)
        own = mark(found.image)
        if i < TWICE and mark(_item(source, i, where)[0].image) != own:
            raise _changed(i, where)
        labels.append(label)
        sizes.add(found.image.size)
        marks[i] = np.frombuffer(own, np.uint8)
        top, moved = max(top, 1.0 if found.top is None else found.top), max(moved, found.moved or 0.0)
    if top < 1.5 / 255:
        raise UserError(
            f"All {len(labels)} images of {where} are black: their largest value is {top:.4f} of white. Expected uint8 "
            "from 0 to 255, or float from 0 to 1. Floats may have been cast to uint8, or divided by 255 twice."
        )
    first = isinstance(labels[0], list)
    odd = next((i for i, label in enumerate(labels) if isinstance(label, list) != first), None)
    if odd is not None:
        raise UserError(
            f"Label {odd} of {where} is {labels[odd]!r}, and the first is {labels[0]!r}. Expected for each the number "
            "of a class, or for each a verdict on every class."
        )
    return LiveContents(source, where, labels, marks, sizes, moved, _stated(source))


def _stated(source: Any) -> tuple[str, ...] | None:
    """The classes that a data set names, or the one that it is a part of."""
    while isinstance(source, Subset):
        source = source.dataset
    found = getattr(source, "classes", None)
    if not isinstance(found, list | tuple) or not found or not all(isinstance(each, str) for each in found):
        return None
    return tuple(found)


def _item(source: Any, index: int, where: str) -> tuple[LiveImage, Any]:
    """Image and label: a number, a list of several, or whatever else it is."""
    try:
        found = source[index]
    except Exception as error:
        raise UserError(
            f"Item {index} of {where} cannot be read: {type(error).__name__}: {error}. Mend the data set's __getitem__."
        ) from error
    if not isinstance(found, tuple | list) or len(found) != 2:
        kind = type(found).__name__
        if isinstance(found, Mapping):
            told = f"a {kind} with {', '.join(map(str, found)) or 'nothing'}"
        else:
            told = f"a {kind} of {len(found)}" if isinstance(found, tuple | list) else f"a {kind}"
        raise UserError(
            f"Item {index} of {where} is {told}. Expected a pair (image, label): have __getitem__ return one."
        )
    label = found[1].detach().cpu() if isinstance(found[1], Tensor) else found[1]
    label = label.tolist() if isinstance(label, Tensor | np.ndarray | np.generic) else label
    label = list(label) if isinstance(label, tuple) else label
    is_alone = isinstance(label, list) and len(label) == 1
    return picture(found[0], f"Image {index} of {where}"), label[0] if is_alone else label


def _changed(index: int, where: str) -> UserError:
    return UserError(
        f"Image {index} of {where} has other pixels than when it was read before. Expected the same each time: leave "
        "out random transforms, and change no image after it was handed over."
    )
