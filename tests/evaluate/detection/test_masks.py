"""Outlines are filled as COCO's tools fill them, run-length masks are read, and masks are pasted at pixels' centers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transferbench.detection.targets.masks import from_bitmap, from_outlines, paste, targets
from transferbench.detection.targets.polygons import filled
from transferbench.detection.targets.rle import decoded
from transferbench.detection.targets.samples import Detections, Objects
from transferbench.errors import UserError

CORNERS = st.lists(st.tuples(st.floats(-6, 34), st.floats(-6, 34)), min_size=3, max_size=7)


def triangle_by_hand(height: int, width: int) -> np.ndarray:
    """Pixels whose centers lie in the triangle of the corners (0, 0), (0, 10) and (10, 10)."""
    y, x = np.mgrid[:height, :width] + 0.5
    return (y > x) & (y < 10)


def test_a_rectangle_on_whole_pixels_is_itself() -> None:
    mask = filled([np.array([[2.0, 1], [7, 1], [7, 5], [2, 5]])], 8, 9)
    expected = np.zeros((8, 9), bool)
    expected[1:5, 2:7] = True
    assert (mask == expected).all()


def test_a_triangle_is_what_geometry_says_but_on_its_edge() -> None:
    mask = filled([np.array([[0.0, 0], [0, 10], [10, 10]])], 12, 12)
    differing = mask != triangle_by_hand(12, 12)
    assert set(zip(*np.nonzero(differing), strict=True)) <= {(i, i) for i in range(12)}


def test_parts_of_an_object_are_united_and_what_is_outside_is_cut() -> None:
    square = np.array([[-5.0, -5], [4, -5], [4, 4], [-5, 4]])
    inner = np.array([[1.0, 1], [9, 1], [9, 3], [1, 3]])
    mask = filled([square, inner], 6, 6)
    expected = np.zeros((6, 6), bool)
    expected[:4, :4] = expected[1:3, 1:] = True
    assert (mask == expected).all()


@given(CORNERS)
def test_any_outline_is_filled_as_by_pycocotools(corners: list[tuple[float, float]]) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    outline = np.array(corners)
    theirs = tools.decode(tools.merge(tools.frPyObjects([outline.reshape(-1).tolist()], 28, 28))).astype(bool)
    assert (filled([outline], 28, 28) == theirs).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_any_runs_are_read_as_pycocotools_wrote_them(height: int, width: int, seed: int) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    mask = np.asfortranarray(np.random.default_rng(seed).random((height, width)) > 0.5)
    assert (decoded(tools.encode(mask)) == mask).all()


def test_runs_as_numbers_go_down_the_columns() -> None:
    mask = decoded({"size": [3, 2], "counts": [1, 2, 2, 1]})
    assert mask.tolist() == [[False, False], [True, False], [True, True]]


def test_cocos_text_of_runs_is_read() -> None:
    mask = np.zeros((60, 9), bool)
    mask[3:47, 1:5] = mask[5:7, 6] = True
    text = r"o1\1`000000n1fNo2"  # by pycocotools 2.0.11
    assert (decoded({"size": [60, 9], "counts": text}) == mask).all()
    assert (decoded({"size": [60, 9], "counts": text.encode()}) == mask).all()


def test_runs_that_do_not_fill_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match="of 5 pixels for an image of 3 by 2"):
        decoded({"size": [3, 2], "counts": [1, 4]})


def test_a_target_is_the_outline_scaled_to_the_boxs_grid() -> None:
    outline = np.array([10.0, 20, 30, 20, 30, 60, 10, 60])
    grid = from_outlines([outline], torch.tensor([0.0, 20, 40, 100]), 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:4, 2:6] = True
    assert torch.equal(grid, expected)


def test_a_bitmaps_target_is_the_same_shape_on_the_grid() -> None:
    bitmap = np.zeros((100, 60), bool)
    bitmap[20:60, 10:30] = True
    outline = np.array([10.0, 20, 30, 20, 30, 60, 10, 60])
    box = torch.tensor([0.0, 20, 40, 100])
    assert torch.equal(from_bitmap(bitmap, box, 8), from_outlines([outline], box, 8))


def test_run_length_masks_serve_as_targets() -> None:
    counts = [12] + [3, 9] * 5 + [12 * 6]
    objects = Objects(torch.tensor([[1.0, 0, 6, 3]]), torch.tensor([0]), rles=[{"size": [12, 12], "counts": counts}])
    assert targets(objects, torch.tensor([0]), objects.boxes, 4).all()


def test_annotations_without_masks_are_refused_where_masks_are_asked_for() -> None:
    objects = Objects(torch.tensor([[1.0, 0, 6, 3]]), torch.tensor([0]))
    with pytest.raises(UserError, match=r"MODEL\.MASK_ON is True and these annotations have no masks"):
        targets(objects, torch.tensor([0]), objects.boxes, 4)
    assert targets(objects, torch.tensor([], dtype=torch.int64), objects.boxes[:0], 4).shape == (0, 4, 4)


def bilinear(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every pixel of the image looked up by hand in float64; the grid's neighbors are 0."""
    side = len(mask)
    padded = np.pad(mask, 1)
    found = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            v = np.clip((i + 0.5 - box[1]) / (box[3] - box[1]) * side - 0.5, -1, side)
            u = np.clip((j + 0.5 - box[0]) / (box[2] - box[0]) * side - 0.5, -1, side)
            r, c = min(int(np.floor(v)), side - 1), min(int(np.floor(u)), side - 1)
            a, b = v - r, u - c
            p = padded[r + 1 : r + 3, c + 1 : c + 3]
            found[i, j] = (1 - a) * ((1 - b) * p[0, 0] + b * p[0, 1]) + a * ((1 - b) * p[1, 0] + b * p[1, 1])
    return found


def test_pasting_looks_every_pixels_center_up_on_the_grid() -> None:
    generator = np.random.default_rng(3)
    masks = generator.random((3, 5, 5)).astype(np.float32)
    boxes = np.array([[3.2, 4.7, 20.1, 15.3], [0, 0, 24, 18], [18.5, 1, 24, 6.25]], np.float32)
    found = paste(Detections(*map(torch.tensor, (boxes, np.ones(3, np.float32), [0, 0, 0], masks))), (18, 24))
    for mask, box, one in zip(masks, boxes, found.numpy(), strict=True):
        exact = bilinear(mask.astype(np.float64), box.astype(np.float64), 18, 24)
        decided = np.abs(exact - 0.5) > 1e-5
        assert ((exact >= 0.5) == one)[decided].all()
        assert one.any()


def test_a_place_that_is_half_covered_belongs_to_the_object() -> None:
    """As Detectron2 has it, whose targets and pasted masks are what is at least 0.5."""
    bitmap = np.zeros((8, 8), bool)
    bitmap[:, :5] = True  # each place averages four pixels: of the second column two, exactly half
    bitmap[:4, 5] = bitmap[0, 4] = False
    grid = from_bitmap(bitmap, torch.tensor([0.0, 0, 8, 8]), 4)
    assert grid.tolist() == [[True, True, False, False], *[[True, True, True, False]] * 3]


def test_a_pixel_whose_mask_is_exactly_half_is_pasted() -> None:
    masks = torch.tensor([[[0.5, 0.5, 0.25, 0.75]] * 4])
    box = torch.tensor([[0.0, 0, 4, 4]])
    found = paste(Detections(box, torch.ones(1), torch.zeros(1, dtype=torch.int64), masks), (4, 4))
    assert found[0].tolist() == [[True, True, False, True]] * 4
