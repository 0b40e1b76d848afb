"""Schedules against the values worked out by hand from spec 1.1, and who is decayed."""

import pytest
from torch import nn

from transferbench.optim import cosine, cosine_with_warmup, parameter_groups, stepwise


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 0.5),
        (1, 1.0),
        (2, 0.96197782648),  # q = (1 + cos(pi / 8)) / 2 = 0.96193976626
        (5, 0.5005),  # q = 1/2
        (7, 0.14730016),  # q = (1 + cos(6 pi / 8)) / 2 = 0.14644660941
        (9, 0.001),  # q = 0: the floor
    ],
)
def test_warm_up_and_cosine_are_the_published_ones(step: int, factor: float):
    """lr = base (step + 1) / warm-up, then base q + 0.001 base (1 - q), q = (1 + cos(pi (s + 1) / M)) / 2."""
    assert cosine_with_warmup(step, total_steps=10, warmup_steps=2, floor=0.001) == pytest.approx(factor, abs=1e-8)


def test_a_schedule_may_have_no_warm_up_or_nothing_else():
    assert cosine_with_warmup(0, 4, 0, 0.0) == pytest.approx(0.85355339)
    assert [cosine_with_warmup(step, 2, 2, 0.001) for step in (0, 1)] == [0.5, 1.0]


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (25, 0.85355339), (50, 0.5), (100, 0.0)])
def test_the_cosine_starts_at_one_and_ends_at_nothing(step: int, factor: float):
    assert cosine(step, 100) == pytest.approx(factor, abs=1e-8)


@pytest.mark.parametrize(("epoch", "factor"), [(0, 1), (59, 1), (60, 0.1), (79, 0.1), (80, 0.01), (99, 0.01)])
def test_steps_fall_at_their_milestones(epoch: int, factor: float):
    assert stepwise(epoch, (60, 80), 0.1) == pytest.approx(factor)


@pytest.fixture
def module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def test_vectors_are_free_of_decay_where_the_recipe_says_so(module: nn.Module):
    groups = parameter_groups(module, 1e-5, decay_vectors=False)
    assert [group["weight_decay"] for group in groups] == [1e-5, 0.0]
    assert [{parameter.ndim for parameter in group["params"]} for group in groups] == [{4, 2}, {1}]


@pytest.mark.parametrize("decay_vectors", [True, False])
def test_every_parameter_is_in_one_group(module: nn.Module, decay_vectors: bool):
    groups = parameter_groups(module, 1e-4, decay_vectors)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in module.parameters())
    assert all(group["params"] for group in groups)
    if decay_vectors:
        assert [group["weight_decay"] for group in groups] == [1e-4]
