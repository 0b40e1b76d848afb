"""Overlaps, coding, matching and drawing against literal float64 versions of docs/protocols.md#torchvision."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transferbench.detection.model import anchors
from transferbench.detection.targets.boxes import clipped, decode, encode, overlaps
from transferbench.detection.targets.matching import BoxSampling, draw, match

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def some_boxes(seed: int, count: int) -> torch.Tensor:
    corner = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 60
    side = 1 + torch.rand(count, 2, generator=torch.Generator().manual_seed(seed + 1)) * 50
    return torch.cat((corner, corner + side), 1)


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_overlaps_and_the_coding_are_the_formulas() -> None:
    first, second = some_boxes(0, 7), some_boxes(5, 7)
    exact = [[overlap(a, b) for b in second.double().tolist()] for a in first.double().tolist()]
    np.testing.assert_allclose(overlaps(first, second), exact, atol=1e-6)
    for a, b, coded in zip(first.tolist(), second.tolist(), encode(first, second, WEIGHTS).tolist(), strict=True):
        shift = [10 * ((b[k] + b[k + 2]) - (a[k] + a[k + 2])) / 2 / (a[k + 2] - a[k]) for k in (0, 1)]
        growth = [5 * math.log((b[k + 2] - b[k]) / (a[k + 2] - a[k])) for k in (0, 1)]
        np.testing.assert_allclose(coded, shift + growth, rtol=1e-4, atol=1e-4)


def test_decoding_undoes_encoding_and_bounds_growth() -> None:
    first, second = some_boxes(0, 7), some_boxes(5, 7)
    found = decode(first, encode(first, second, WEIGHTS), WEIGHTS)[:, 0]
    np.testing.assert_allclose(found, second, atol=1e-3)
    huge = decode(torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, 99, 99]]), WEIGHTS)[0, 0]
    np.testing.assert_allclose(huge, [8 - 500, 8 - 500, 8 + 500, 8 + 500], rtol=1e-5)


def test_boxes_that_only_touch_or_have_no_area_do_not_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [4, 0, 8, 4], [2, 2, 2, 2]])
    assert overlaps(boxes, boxes).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_clipping_keeps_what_is_inside() -> None:
    found = clipped(torch.tensor([[-3.0, 2, 30, 40], [5, 5, 6, 6]]), (20, 25))
    assert found.tolist() == [[0, 2, 25, 20], [5, 5, 6, 6]]


def test_anchors_are_unrounded_sizes_outside_ratios_inside_places_row_by_row() -> None:
    cell = anchors.cell((32.0, 64.0), (0.5, 1.0, 2.0))
    widths = [size / math.sqrt(ratio) for size in (32, 64) for ratio in (0.5, 1, 2)]
    np.testing.assert_allclose(cell[:, 2] - cell[:, 0], widths, rtol=1e-6)
    np.testing.assert_allclose((cell[:, 2:] - cell[:, :2]).prod(1), [32**2] * 3 + [64**2] * 3, rtol=1e-5)
    places = anchors.grid(cell, 2, 3, 16, 0.0).reshape(2, 3, 6, 4)
    centers = (places[..., :2] + places[..., 2:]) / 2
    np.testing.assert_allclose(centers[1, 2], [[32, 16]] * 6, atol=1e-4)
    np.testing.assert_allclose(anchors.grid(cell, 2, 3, 8, 0.5)[0] - cell[0], [4] * 4, atol=1e-5)


def test_intervals_are_closed_below_and_best_boxes_count_whatever_their_overlap() -> None:
    quality = torch.tensor([[0.3, 0.7, 0.29, 0.69, 0.0], [0.1, 0.2, 0.25, 0.25, 0.0]])
    objects, labels = match(quality, (0.3, 0.7), (0, -1, 1), keep_best=False)
    assert objects.tolist() == [0, 0, 0, 0, 0]
    assert labels.tolist() == [-1, 1, 0, -1, 0]
    objects, labels = match(quality, (0.3, 0.7), (0, -1, 1), keep_best=True)
    assert labels.tolist() == [-1, 1, 1, 1, 0]
    assert objects.tolist() == [0, 0, 0, 0, 0]


def test_without_objects_all_is_background() -> None:
    objects, labels = match(torch.zeros(0, 4), (0.3, 0.7), (0, -1, 1), keep_best=True)
    assert (objects.tolist(), labels.tolist()) == ([0] * 4, [0] * 4)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40), st.floats(0, 1), st.integers(0, 9))
def test_objects_are_drawn_up_to_their_fraction_and_background_fills_up(
    objects: int, others: int, count: int, fraction: float, seed: int
) -> None:
    labels = torch.tensor([2] * objects + [9] * others + [-1] * 5)[torch.randperm(objects + others + 5)]
    positive, negative = draw(labels, 9, BoxSampling(count, fraction), torch.Generator().manual_seed(seed))
    assert len(positive) == min(objects, int(count * fraction))
    assert len(negative) == min(others, count - len(positive))
    assert (labels[positive] == 2).all()
    assert (labels[negative] == 9).all()
    assert len(set(positive.tolist() + negative.tolist())) == len(positive) + len(negative)


def test_equal_seeds_draw_equal_boxes_and_others_do_not() -> None:
    labels = torch.tensor([0, 1] * 50)
    drawn = [draw(labels, 0, BoxSampling(20, 0.5), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_nothing_is_drawn_from_torchs_own_generator_when_one_is_given() -> None:
    before = torch.random.get_rng_state()
    draw(torch.tensor([0, 1] * 50), 0, BoxSampling(20, 0.5), torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.random.get_rng_state())
    draw(torch.tensor([0, 1] * 50), 0, BoxSampling(20, 0.5), None)
    assert not torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_box_loss_is_absolute_at_0_and_quadratic_below_beta(beta: float) -> None:
    from transferbench.detection.model.losses import smooth_l1

    found, wanted = torch.tensor([0.1, -2.0, 3.0]), torch.tensor([0.0, 0.0, 2.75])
    differences = [0.1, 2.0, 0.25]
    exact = sum(d - beta / 2 if d >= beta else d * d / (2 * beta) for d in differences)
    assert float(smooth_l1(found, wanted, beta)) == pytest.approx(exact, rel=1e-6)


def test_regions_are_cut_from_a_coarser_map_for_each_doubling_of_their_sides() -> None:
    from transferbench.detection.model.pooling import levels

    sides = [1.0, 55, 111, 112, 223, 224, 447, 448, 900]
    boxes = torch.tensor([[3, 5, 3 + side, 5 + side] for side in sides])
    exact = [min(5, max(2, math.floor(4 + math.log2(side / 224 + 1e-8)))) - 2 for side in sides]
    assert exact == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert levels(boxes, (4, 8, 16, 32)).tolist() == exact
    assert levels(boxes, (1, 2, 4, 8)).tolist() == [min(3, max(0, math.floor(4 + math.log2(s / 224)))) for s in sides]
