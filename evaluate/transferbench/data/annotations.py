"""What is annotated in the images of a data set for detection, as its files say it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64

Outlines = list[list[float]]
"""The outlines of an object, each x0 y0 x1 y1 ... in pixels."""


class Annotation(NamedTuple):
    """One object.

    Attributes:
        box: x and y of the upper left corner, width and height, in pixels.
        label: its class, from 0 on.
        mask: outlines, or COCO's run-length code `{"size": [h, w], "counts": ...}`; None where it is not known.
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


@dataclass(frozen=True)
class Annotated:
    """The annotations of a split, image by image.

    Attributes:
        objects: by image.
        ids: what the files call each image; results for other tools are written with it.
        sizes: height and width of each image.
        categories: the number that the files give each class.
        scoring: whose average precision it is reported in. VOC's of 2007 interpolates at 11 points.
    """

    objects: Sequence[tuple[Annotation, ...]]
    ids: Sequence[int | str]
    sizes: Sequence[tuple[int, int]]
    categories: tuple[int, ...]
    scoring: Literal["coco", "voc2007", "voc2012"] = "coco"

    @property
    def has_masks(self) -> bool:
        """Whether every object that is no crowd has a mask."""
        return all(each.mask is not None for image in self.objects for each in image if not each.crowd)

    def subset(self, chosen: Int64[np.ndarray, "m"]) -> "Annotated":
        """Of the images at `chosen`, in that order."""
        at = [int(i) for i in chosen]
        return replace(
            self,
            objects=[self.objects[i] for i in at],
            ids=[self.ids[i] for i in at],
            sizes=[self.sizes[i] for i in at],
        )

    def first_labels(self) -> Int64[np.ndarray, "n"]:
        """The class of each image's first object; -1 where there is none."""
        return np.array([image[0].label if image else -1 for image in self.objects], np.int64)
