"""What an annotated image and a detection are, on either side of a detector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

Polygons = list[list[np.ndarray]]
"""For each object its outlines, each a flat array x0 y0 x1 y1 ... in pixels."""


@dataclass(frozen=True)
class Objects:
    """What is annotated in an image, in pixels of it; crowds are never among them.

    Attributes:
        boxes: `n 4`, corners x0 y0 x1 y1.
        labels: `n`, from 0 to the number of classes less 1.
        polygons: outlines by object; None where masks are not known or are in `rles`.
        rles: COCO's run-length masks by object, each `{"size": [h, w], "counts": ...}` of this image; or None.
    """

    boxes: Float[Tensor, "n 4"]
    labels: Int64[Tensor, " n"]
    polygons: Polygons | None = None
    rles: list[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Detections:
    """What was found in an image, surest first.

    Attributes:
        boxes: `m 4`, corners in pixels of the original image.
        scores: `m`, from 0 to 1.
        labels: `m`, from 0 to the number of classes less 1.
        masks: `m s s`, probabilities on a grid that spans the box; None from a detector without masks.
    """

    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, " m"]
    labels: Int64[Tensor, " m"]
    masks: Float[Tensor, "m s s"] | None = None


@dataclass(frozen=True)
class Sample:
    """An image as a detector takes it.

    Attributes:
        pixels: `3 h w`, RGB from 0 to 255, resized and flipped.
        size: height and width of the original image.
        objects: in pixels of the resized image; None when testing.
    """

    pixels: Float[Tensor, "3 h w"]
    size: tuple[int, int]
    objects: Objects | None = None
