"""Schedules against values worked out by hand, and who is decayed."""

import pytest
from torch import nn

from transferbench.optim import cosine, parameter_groups, stepwise, warmup


def test_a_warm_up_without_a_start_ends_at_one_in_equal_shares():
    assert [warmup(step, 4) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_a_warm_up_from_a_start_is_a_straight_line_to_one():
    assert [warmup(step, 5, 0.2) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert warmup(0, 1, 0.2) == 0.2


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (25, 0.85355339), (50, 0.5), (100, 0.0)])
def test_the_cosine_starts_at_one_and_ends_at_nothing(step: int, factor: float):
    assert cosine(step, 100) == pytest.approx(factor, abs=1e-8)


def test_the_cosine_ends_at_its_floor():
    assert cosine(50, 100, 0.1) == pytest.approx(0.55)
    assert cosine(100, 100, 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (59, 1), (60, 0.1), (79, 0.1), (80, 0.01), (99, 0.01)])
def test_steps_fall_at_their_milestones(epoch: int, factor: float):
    assert stepwise(epoch, (60, 80), 0.1) == pytest.approx(factor)


@pytest.fixture
def module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def test_vectors_are_free_of_decay_where_the_recipe_says_so(module: nn.Module):
    groups = parameter_groups(module.parameters(), 1e-5, decay_vectors=False)
    assert [group["weight_decay"] for group in groups] == [1e-5, 0.0]
    assert [{parameter.ndim for parameter in group["params"]} for group in groups] == [{4, 2}, {1}]


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_every_parameter_is_in_one_group(module: nn.Module, decay_vectors: bool):
    groups = parameter_groups(module.parameters(), 1e-4, decay_vectors)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in module.parameters())
    assert all(group["params"] for group in groups)
    if decay_vectors:
        assert [group["weight_decay"] for group in groups] == [1e-4]
