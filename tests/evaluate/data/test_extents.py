"""Boxes and outlines that cannot be in pixels of their images are refused, taken all together."""

import pytest

from transferbench.data.annotations import Annotated, Annotation
from transferbench.data.extents import require_pixels
from transferbench.errors import UserError

Box = tuple[float, float, float, float]
TRIANGLE = [0.2, 0.2, 0.9, 0.2, 0.5, 0.9]


def check(boxes: list[Box], outline: list[float] | None = None) -> None:
    """Of an image each, 30 high and 40 wide."""
    objects = [(Annotation(box, 0, None if outline is None else [outline]),) for box in boxes]
    require_pixels(Annotated(objects, range(len(boxes)), [(30, 40)] * len(boxes), (1,)), "a.json")


def test_boxes_in_pixels_are_taken_wherever_they_lie():
    check([(4, 6, 20, 15), (0, 0, 40, 30), (-1, -1, 42, 32)])
    check([(4, 6, 20, 15), (4, 6, 24, 21), (4, 6, 0, 0), (30, 6, 24, 21)])  # one over the edge, one without extent
    check([(0.25, 0.5, 0.5, 0.5), (4, 6, 20, 15)], [4, 6, 24, 6, 24, 21])
    check([])


@pytest.mark.parametrize(
    ("boxes", "outline", "said"),
    [
        ([(0.1, 0.2, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5)], None, "All boxes of a.json lie in the first pixel"),
        ([(-0.9, -0.8, 1.2, 1.3)], None, "All boxes of a.json lie in the first pixel"),
        ([(4, 6, 20, 15)], TRIANGLE, "All outlines of a.json lie in the first pixel"),
        ([(4, 6, 0, 15), (4, 6, 20, 0)], None, "None of the 2 boxes of a.json has a width and a height"),
        ([(10, 20, 39, 29), (20, 6, 39, 20), (4, 6, 20, 15)], None, "2 of the 3 boxes of a.json reach outside"),
        ([(-23, 6, 65, 15)], None, "1 of the 1 boxes of a.json reach outside"),
    ],
)
def test_boxes_in_other_units_are_refused(boxes: list[Box], outline: list[float] | None, said: str):
    with pytest.raises(UserError, match=said):
        check(boxes, outline)
