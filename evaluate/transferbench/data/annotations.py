"""What is annotated in the images of a data set for detection, as its files say it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int64

from transferbench.data.packing import Annotation, Outlines, Packed

__all__ = ["Annotated", "Annotation", "Outlines"]


@dataclass(frozen=True)
class Annotated:
    """The annotations of a split, image by image.

    Attributes:
        objects: by image; whatever sequence of sequences is given becomes a `Packed`.
        ids: what the files call each image; results for other tools are written with it.
        sizes: height and width of each image.
        categories: the number that the files give each class.
        scoring: whose average precision it is reported in. VOC's of 2007 interpolates at 11 points.
        parts: what Detectron2 calls the split that each image is of, such as `voc_2007_trainval`; empty: not known.
    """

    objects: Sequence[tuple[Annotation, ...]]
    ids: Sequence[int | str]
    sizes: Sequence[tuple[int, int]]
    categories: tuple[int, ...]
    scoring: Literal["coco", "voc2007", "voc2012"] = "coco"
    parts: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.objects, Packed):
            object.__setattr__(self, "objects", Packed(self.objects))

    @property
    def packed(self) -> Packed:
        """The objects as arrays."""
        assert isinstance(self.objects, Packed)
        return self.objects

    @property
    def judged(self) -> int:
        """How many objects detections are judged by: neither crowds nor difficult."""
        return int((~self.packed.crowd & ~self.packed.difficult).sum())

    def unmasked(self, crowd: bool) -> Int64[np.ndarray, "m"]:
        """The images with an object, a crowd or none, without a mask."""
        packed = self.packed
        return packed.with_any(~packed.masked & (packed.crowd == crowd))

    def learnable(self, with_masks: bool) -> Int64[np.ndarray, "m"]:
        """The images with at least one object to learn: no crowd, its mask enclosing something if it is to be learned.

        As in Detectron2, outlines that enclose nothing take the object out whether masks are learned or not.
        """
        packed = self.packed
        objects = ~packed.crowd & ~packed.unusable
        return packed.with_any(objects & packed.masked if with_masks else objects)

    def subset(self, chosen: Int64[np.ndarray, "m"]) -> "Annotated":
        """Of the images at `chosen`, in that order."""
        at = [int(i) for i in chosen]
        return replace(
            self,
            objects=[self.objects[i] for i in at],
            ids=[self.ids[i] for i in at],
            sizes=[self.sizes[i] for i in at],
            parts=[self.parts[i] for i in at] if self.parts else (),
        )

    def first_labels(self) -> Int64[np.ndarray, "n"]:
        """The class of each image's first object; -1 where there is none."""
        first, labels = self.packed.first, np.append(self.packed.labels, -1)
        return np.where(first[1:] > first[:-1], labels[first[:-1]], -1)
