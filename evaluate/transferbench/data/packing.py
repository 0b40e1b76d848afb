"""Annotations of many images in a few arrays, which loader processes share instead of copying.

As Python objects COCO's 860,000 took 2.6 GiB, and each process copied what it looked at: reading an object writes its
count of references, and so copies its page of memory (`benchmarks/annotations.py`).
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from jaxtyping import Bool, Int64

Outlines = list[list[float]]
"""The outlines of an object, each x0 y0 x1 y1 ... in pixels."""


class Annotation(NamedTuple):
    """One object.

    Attributes:
        box: x and y of the upper left corner, width and height, in pixels.
        label: its class, from 0 on.
        mask: outlines, or COCO's run-length code `{"size": [h, w], "counts": ...}`; None where it is not known, and
            `[]` where the outlines that are annotated enclose nothing.
        area: in square pixels, by which results are told apart as small, medium and large; None: of the box.
        crowd: a region of many objects: not trained on, and detections in it are not counted.
        difficult: as PASCAL VOC marks it: trained on, and neither counted nor missed when testing.
    """

    box: tuple[float, float, float, float]
    label: int
    mask: Outlines | Mapping[str, Any] | None = None
    area: float | None = None
    crowd: bool = False
    difficult: bool = False


class Packed(Sequence[tuple[Annotation, ...]]):
    """The objects of images: item i is the tuple of those in image i, made anew from the arrays.

    Attributes:
        labels: of all objects, image by image.
        boxes: of all objects: x, y, width and height.
        points: the coordinates of all outlines, one after the other.
        crowd: whether they are crowds.
        masked: whether they have a mask.
        unusable: whether that mask encloses nothing.
        difficult: whether they are neither counted nor missed.
        first: where each image's objects begin; one more than there are images.
    """

    def __init__(self, objects: Iterable[Sequence[Annotation]]) -> None:
        boxes, labels, areas, kinds = array("d"), array("q"), array("d"), array("b")
        points, lengths, outlines, first = array("d"), array("q", [0]), array("q", [0]), array("q", [0])
        self._codes: dict[int, Mapping[str, Any]] = {}
        for image in objects:
            for each in image:
                if isinstance(each.mask, Mapping):
                    self._codes[len(labels)] = each.mask
                for outline in each.mask if isinstance(each.mask, list) else ():
                    points.extend(outline)
                    lengths.append(len(points))
                outlines.append(len(lengths) - 1)
                boxes.extend(each.box)
                labels.append(each.label)
                areas.append(np.nan if each.area is None else each.area)
                kinds.append(each.crowd + 2 * each.difficult + 4 * (each.mask is not None) + 8 * (each.mask == []))
            first.append(len(labels))
        self.labels, self.first = _whole(labels), _whole(first)
        self.crowd, self.difficult, self.masked, self.unusable = (np.asarray(kinds) & bit > 0 for bit in (1, 2, 4, 8))
        self.boxes, self._areas = np.asarray(boxes).reshape(-1, 4), np.asarray(areas)
        self.points, self._lengths, self._outlines = np.asarray(points), _whole(lengths), _whole(outlines)

    def __len__(self) -> int:
        return len(self.first) - 1

    @overload
    def __getitem__(self, index: int) -> tuple[Annotation, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Annotation, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Annotation, ...] | list[tuple[Annotation, ...]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return tuple(self._object(i) for i in range(self.first[index], self.first[index + 1]))

    def __iter__(self) -> Iterator[tuple[Annotation, ...]]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Packed) and list(self) == list(other)

    def with_any(self, chosen: Bool[np.ndarray, " objects"]) -> Int64[np.ndarray, " images"]:
        """The numbers of the images that hold at least one of the objects chosen."""
        before = np.concatenate([[0], np.cumsum(chosen)])
        return np.flatnonzero(before[self.first[1:]] > before[self.first[:-1]])

    @property
    def coded(self) -> bool:
        """Whether an object that is no crowd has its mask as run lengths."""
        return not all(self.crowd[i] for i in self._codes)

    def _object(self, i: int) -> Annotation:
        x, y, width, height = self.boxes[i].tolist()
        area = float(self._areas[i])
        return Annotation(
            (x, y, width, height),
            int(self.labels[i]),
            self._mask(i),
            None if np.isnan(area) else area,
            bool(self.crowd[i]),
            bool(self.difficult[i]),
        )

    def _mask(self, i: int) -> Outlines | Mapping[str, Any] | None:
        if i in self._codes or not self.masked[i]:
            return self._codes.get(i)
        places = range(self._outlines[i], self._outlines[i + 1])
        return [self.points[self._lengths[k] : self._lengths[k + 1]].tolist() for k in places]


def _whole(numbers: array) -> Int64[np.ndarray, " n"]:
    return np.frombuffer(numbers, np.int64)
