"""ReSA against a literal float64 version of docs/methods.md#resa and the published implementation's numbers."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl.losses import ReSALoss
from decorssl.methods import Context, Outputs, Routes, resa
from transferbench.errors import UserError

GOLDEN = Path(__file__).parent / "golden"
INDEX: dict[str, dict[str, Any]] = json.loads((GOLDEN / "index_resa.json").read_text())
Array = np.ndarray
Build = Callable[..., Context]


def drawn(count: int, n: int, d: int, seed: int = 0) -> list[Array]:
    return [np.random.default_rng([seed, i]).normal(size=(n, d)) + 0.3 for i in range(count)]


def tensors(arrays: list[Array]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, arrays))


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def literal_assignment(student: Array, teacher: Array, eps: float, iterations: int) -> Array:
    """Mass shared equally between the teacher's images, then between the student's; shares of these sum to 1."""
    n = len(student)
    mass = np.array([[math.exp(cosine(h, t) / eps) for t in teacher] for h in student])
    for _ in range(iterations):
        for j in range(n):
            mass[:, j] /= mass[:, j].sum() * n
        for i in range(n):
            mass[i] /= mass[i].sum() * n
    return mass * n


def literal_loss(student: list[Array], teacher: list[Array], assigned: Array, temperature: float) -> float:
    n, terms = len(assigned), []
    for b in range(2):
        for a in range(len(student)):
            if a == b:
                continue
            total = 0.0
            for i in range(n):
                logits = [cosine(student[a][i], teacher[b][j]) / temperature for j in range(n)]
                spread = math.log(sum(map(math.exp, logits)))
                total -= sum(assigned[i, j] * (logits[j] - spread) for j in range(n))
            terms.append(total / n)
    return sum(terms) / len(terms)


@pytest.mark.parametrize("count", [2, 4])
def test_loss_is_the_literal_formula(count: int, context: Build) -> None:
    config = resa.Config(temperature=0.3, sinkhorn_eps=0.2, sinkhorn_iterations=2, predictor_hidden=None)
    student, teacher = drawn(count, 9, 5), drawn(2, 9, 5, seed=1)
    features, taught = drawn(count, 9, 7, seed=2), drawn(2, 9, 7, seed=3)
    outputs = Outputs(tensors(student), tensors(teacher), tensors(features), tensors(taught))
    assigned = literal_assignment(features[0], taught[0], 0.2, 2)
    np.testing.assert_allclose(assigned.sum(1), 1)
    assert np.abs(assigned.sum(0) - 1).max() > 1e-3
    ours = resa.loss(outputs, context(config, resa.modules(5, config)))["loss"]
    assert ours.item() == pytest.approx(literal_loss(student, teacher, assigned, 0.3), rel=1e-10)


@pytest.mark.parametrize("name", list(INDEX))
def test_loss_and_gradients_equal_the_published_implementation(name: str, context: Build) -> None:
    arrays, told = np.load(GOLDEN / f"{name}.npz"), INDEX[name]

    def kept(key: str) -> list[Tensor]:
        return [torch.from_numpy(arrays[each]) for each in sorted(arrays.files) if each.rstrip("0123456789") == key]

    config = resa.Config(predictor_hidden=told["predictor_hidden"])
    modules = resa.modules(kept("view")[0].shape[1], config).double()
    for parameter, weight in zip(modules.parameters(), kept("weight"), strict=True):
        parameter.data = weight
    views = [view.requires_grad_() for view in kept("view")]
    outputs = Outputs(*(tuple(part) for part in (views, kept("target"), kept("feature"), kept("target_feature"))))
    value = resa.loss(outputs, context(config, modules))["loss"]
    value.backward()
    assert value.item() == pytest.approx(told["loss"], rel=1e-9)
    scale = max(float(each.norm()) for each in kept("weight_grad") + kept("grad"))
    for parameter, expected in zip([*views, *modules.parameters()], kept("grad") + kept("weight_grad"), strict=True):
        assert parameter.grad is not None
        assert (parameter.grad - expected).norm() <= 1e-9 * expected.norm() + 1e-14 * scale


def test_features_of_all_images_alike_assign_evenly_in_float32() -> None:
    """Largest and smallest cosines stay within float32 too."""
    rows = torch.ones(6, 3)
    torch.testing.assert_close(resa.assignment(rows, rows, resa.Config()), torch.full((6, 6), 1 / 6))
    opposite = torch.cat([rows[:3], -rows[3:]])
    assigned = resa.assignment(opposite, opposite, resa.Config(sinkhorn_eps=0.013))
    torch.testing.assert_close(assigned, torch.block_diag(*[torch.full((3, 3), 1 / 3)] * 2))


def test_the_teacher_sees_the_first_two_views() -> None:
    assert resa.routes(resa.Config(), 4) == Routes((0, 1, 2, 3), (0, 1))
    with pytest.raises(UserError, match="at least 2"):
        resa.routes(resa.Config(), 1)


def test_the_teacher_is_at_each_step_where_the_published_order_puts_it(context: Build) -> None:
    """There it moves when a step begins, with that step's momentum; here when a step ends."""
    config, steps = resa.Config(momentum=0.9), 7
    students = np.random.default_rng(0).normal(size=steps + 1)
    theirs = ours = students[0]
    for step in range(steps):
        m = 1 + 0.5 * (0.9 - 1) * (1 + math.cos(math.pi * step / steps))
        theirs = m * theirs + (1 - m) * students[step]
        assert ours == pytest.approx(theirs, rel=1e-12)
        moved = resa.momentum(context(config, step=step, total_steps=steps))
        ours = moved * ours + (1 - moved) * students[step + 1]


def test_no_gradient_flows_into_features_or_the_teacher() -> None:
    criterion = ReSALoss(dim=5, predictor_hidden=4)
    student, teacher, features, taught = (
        [torch.from_numpy(z).float().requires_grad_() for z in drawn(2, 8, 5, seed)] for seed in range(4)
    )
    criterion(student, teacher, student_features=features, teacher_features=taught).backward()
    assert all(z.grad is not None and z.grad.norm() > 0 for z in student)
    assert all(z.grad is None for z in (*teacher, *features, *taught))
