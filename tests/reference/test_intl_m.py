"""INTL-M against a literal float64 version of docs/methods.md#intl-m and the published implementation's numbers."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl.methods import Context, Outputs, Routes, intl_m
from transferbench.errors import UserError

GOLDEN = Path(__file__).parent / "golden"
INDEX = {k: v for k, v in json.loads((GOLDEN / "index_intl.json").read_text()).items() if v["method"] == "INTL-M"}


def context(config: Any, step: int = 0, steps: int = 1) -> Context:
    return Context(config, step, steps, 0, 1, torch.Generator(), lambda z: z, torch.nn.ModuleDict())


def loss(views: tuple[Tensor, ...], config: intl_m.Config) -> Tensor:
    """Of views in the recipe's order."""
    routes = intl_m.routes(config, len(views))
    outputs = Outputs(tuple(views[i] for i in routes.student), tuple(views[i].detach() for i in routes.teacher))
    return intl_m.loss(outputs, context(config))["loss"]


def literal_whitened(z: np.ndarray, between: str) -> np.ndarray:
    x = z if between == "samples" else z.T
    x = np.stack([row - row.mean() for row in x])
    sigma = x @ x.T / (x.shape[1] - 1)
    p = np.eye(len(x))
    for _ in range(4):
        p = 1.5 * p - 0.5 * (p @ p @ p @ sigma / np.trace(sigma))
    out = p / np.sqrt(np.trace(sigma)) @ x
    return out if between == "samples" else out.T


def literal_loss(views: list[np.ndarray], between: str) -> float:
    """The formula word for word."""
    beta = 0.01 * (math.log2(views[0].shape[0 if between == "samples" else 1]) - 3)
    teacher, *students = [literal_whitened(z, between) for z in views]
    total = 0.0
    for z in students:
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(z, teacher, strict=True)]
        trace = sum((np.var(row, ddof=1) - 1) ** 2 for row in (z if between == "samples" else z.T))
        total += 2 - 2 * float(np.mean(cosines)) + beta * trace
    return total / len(students)


@pytest.mark.parametrize("between", ["samples", "channels"])
@pytest.mark.parametrize(("n_views", "shape"), [(2, (32, 48)), (6, (32, 48)), (3, (48, 32))])
def test_loss_is_the_literal_formula(between: str, n_views: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    views = [rng.normal(size=shape) + 0.5 for _ in range(n_views)]
    ours = loss(tuple(map(torch.from_numpy, views)), intl_m.Config(covariance_between=between))
    assert ours.item() == pytest.approx(literal_loss(views, between), rel=1e-11)


@pytest.mark.parametrize("name", list(INDEX))
def test_loss_and_gradients_equal_the_published_implementation(name: str) -> None:
    arrays = np.load(GOLDEN / f"{name}.npz")
    count = sum(key.startswith("view") for key in arrays.files)
    views = tuple(torch.from_numpy(arrays[f"view{i}"]).double().requires_grad_() for i in range(count))
    value = loss(views, intl_m.Config())
    value.backward()
    assert value.item() == pytest.approx(INDEX[name]["loss"], rel=1e-9)
    assert views[0].grad is None
    for i, view in enumerate(views[1:], 1):
        reference = torch.from_numpy(arrays[f"grad{i}"])
        assert view.grad is not None
        assert (view.grad - reference).norm() <= 1e-9 * reference.norm(), f"view {i}"


def test_the_teacher_sees_the_first_view_alone() -> None:
    assert intl_m.routes(intl_m.Config(), 6) == Routes((1, 2, 3, 4, 5), (0,))
    with pytest.raises(UserError, match="at least 2"):
        intl_m.routes(intl_m.Config(), 1)


def test_the_teacher_is_at_each_step_where_the_published_order_puts_it() -> None:
    """There it moves when a step begins, with that step's momentum; here when a step ends."""
    config, steps = intl_m.Config(momentum=0.9), 7
    students = torch.randn(steps + 1, generator=torch.Generator().manual_seed(0)).double()
    theirs = ours = students[0]
    for step in range(steps):
        m = 1 - 0.5 * (1 + math.cos(math.pi * step / steps)) * (1 - 0.9)
        theirs = m * theirs + (1 - m) * students[step]
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
        moved = intl_m.momentum(context(config, step, steps))
        ours = moved * ours + (1 - moved) * students[step + 1]
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(4, 6, dtype=torch.float64, generator=generator) for _ in range(3)]
    config = intl_m.Config(trade_off=0.05)
    students = tuple(view.requires_grad_() for view in views[1:])
    assert torch.autograd.gradcheck(lambda *v: loss((views[0], *v), config), students)
