"""Whether the boxes of a split are in pixels, told from all of them together: one alone may lie anywhere."""

import numpy as np

from transferbench.data.annotations import Annotated
from transferbench.errors import UserError

RELATIVE = 1.5
"""Coordinates that are shares of the image's sides do not exceed it; nor do VOC's, with corners counted from 1."""
OUTSIDE = 1.5
"""Pixels that a box may reach over the edge: of a rounded number, and of one that counts from 1."""


def require_pixels(annotated: Annotated, where: str) -> None:
    """Refuse boxes and outlines that cannot be in pixels of their images.

    Raises:
        UserError: when all boxes, or all outlines, lie in the first pixel of their images, no box has an extent, or
            more than half of the boxes reach outside.
    """
    packed = annotated.packed
    boxes, points, n = packed.boxes, packed.points, len(packed.labels)
    if not n:
        return
    expected = "Expected [x, y, width, height] in pixels, in VOC's files the corners in pixels"
    if not (boxes[:, 2:] > 0).all(1).any():
        raise UserError(f"None of the {n} boxes of {where} has a width and a height. {expected}.")
    for what, coordinates in (("boxes", boxes[:, :2] + boxes[:, 2:]), ("outlines", points)):
        if coordinates.size and coordinates.max() <= RELATIVE:
            raise UserError(
                f"All {what} of {where} lie in the first pixel of their images, as shares of width and height would. "
                f"{expected}."
            )
    sizes = np.repeat(np.array(annotated.sizes)[:, ::-1], np.diff(packed.first), axis=0)
    beyond = ((boxes[:, :2] < -OUTSIDE) | (boxes[:, :2] + boxes[:, 2:] > sizes + OUTSIDE)).any(1)
    if 2 * beyond.sum() > n:
        raise UserError(
            f"{int(beyond.sum())} of the {n} boxes of {where} reach outside their images, as where [x, y, right, "
            f"bottom] stands for a box. {expected}."
        )
