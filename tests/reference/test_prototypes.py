"""SwAV and DINO against literal float64 versions of their formulas."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from decorssl.methods import Context, Outputs, dino, swav
from transferbench.runtime import seeded

Array = np.ndarray
Build = Callable[..., Context]


def drawn(count: int, n: int, d: int, seed: int = 0) -> list[Array]:
    return [np.random.default_rng([seed, i]).normal(size=(n, d)) + 0.3 for i in range(count)]


def tensors(arrays: list[Array]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, arrays))


def built(module: Any, config: Any) -> nn.ModuleDict:
    with seeded(1):
        modules = module.modules(5, config).double()
    if module is swav:
        weight = modules["prototypes"].weight.data
        weight /= weight.norm(dim=1, keepdim=True)
    return modules


def unit(rows: Array) -> Array:
    return np.stack([row / np.linalg.norm(row) for row in rows])


def softmax(row: Array) -> Array:
    return np.array([math.exp(x) for x in row]) / sum(math.exp(x) for x in row)


def cross_entropy(targets: Array, logits: Array) -> float:
    return float(np.mean([-(q @ np.log(softmax(row))) for q, row in zip(targets, logits, strict=True)]))


def literal_sinkhorn(scores: Array, eps: float, iterations: int) -> Array:
    """Mass shared equally between prototypes, then between samples, as often as told; samples' shares sum to 1."""
    q = np.array([[math.exp(x / eps) for x in row] for row in scores])
    q = q / q.sum()
    n, k = q.shape
    for _ in range(iterations):
        for j in range(k):
            q[:, j] /= q[:, j].sum() * k
        for i in range(n):
            q[i] /= q[i].sum() * n
    return q * n


def literal_swav(views: list[Array], weight: Array, queues: list[Array]) -> float:
    scores = [unit(z) @ weight.T for z in views]
    terms = []
    for i in (0, 1):
        dealt = np.concatenate([scores[i], queues[i] @ weight.T]) if queues else scores[i]
        codes = literal_sinkhorn(dealt, 0.05, 3)[: len(views[i])]
        terms += [cross_entropy(codes, scores[j] / 0.1) for j in range(len(views)) if j != i]
    return float(np.mean(terms))


@pytest.mark.parametrize("count", [2, 4])
def test_swav_is_the_literal_formula(count: int, context: Build) -> None:
    config = swav.Config(prototypes=6)
    modules, views = built(swav, config), drawn(count, 9, 5)
    ours = swav.loss(Outputs(tensors(views)), context(config, modules))["loss"]
    expected = literal_swav(views, modules["prototypes"].weight.detach().numpy(), [])
    assert ours.item() == pytest.approx(expected, rel=1e-10)


def test_codes_come_to_use_all_prototypes_equally() -> None:
    scores = torch.randn(40, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q = swav.sinkhorn(scores, 0.5, 200)
    torch.testing.assert_close(q.sum(1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(q.sum(0), torch.full((8,), 5.0, dtype=torch.float64))


def test_swav_deals_with_the_queue_from_its_epoch_on_once_it_is_full(context: Build) -> None:
    config = swav.Config(prototypes=6, queue=12, queue_from_epoch=2)
    modules = built(swav, config)
    weight = modules["prototypes"].weight.detach().numpy()
    past, views = [drawn(2, 9, 5, seed=s) for s in (1, 2, 3)], drawn(2, 9, 5)

    def loss() -> float:
        return swav.loss(Outputs(tensors(views)), context(config, modules))["loss"].item()

    def push(step: int, epoch: int) -> None:
        with torch.no_grad():
            swav.after_step(Outputs(tensors(past[step])), context(config, modules, epoch=epoch))

    without = literal_swav(views, weight, [])
    for step, epoch in ((0, 1), (1, 2)):
        push(step, epoch)
        assert loss() == pytest.approx(without, rel=1e-10)
    push(2, 2)
    rows = [unit(np.concatenate([past[1][i][6:], past[2][i]])) for i in (0, 1)]
    assert loss() == pytest.approx(literal_swav(views, weight, rows), rel=1e-10)


@pytest.mark.parametrize("module", [swav, dino])
def test_prototypes_are_frozen_in_the_first_epochs(module: Any, context: Build) -> None:
    config = module.Config(prototypes=6, frozen_epochs=2)
    modules, views = built(module, config), tensors(drawn(2, 9, 5))
    trained = modules["prototypes" if module is swav else "student"].weight
    for epoch in (0, 1, 2):
        leaves = tuple(v.clone().requires_grad_() for v in views)
        module.loss(Outputs(leaves, views), context(config, modules, epoch=epoch))["loss"].backward()
        assert (trained.grad is None) == (epoch < 2)
        assert all(v.grad is not None and v.grad.norm() > 0 for v in leaves)


def test_swav_returns_prototypes_to_length_1(context: Build) -> None:
    config = swav.Config(prototypes=6)
    modules = built(swav, config)
    weight = modules["prototypes"].weight.data
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(6, dtype=torch.float64))
    expected = unit((weight * 3).numpy())
    weight.mul_(3)
    with torch.no_grad():
        swav.after_step(Outputs(tensors(drawn(2, 9, 5))), context(config, modules))
    np.testing.assert_allclose(weight.numpy(), expected)


def literal_dino(student: list[Array], teacher: list[Array], modules: nn.ModuleDict, temperature: float) -> float:
    rows = {name: unit(modules[name].weight.detach().numpy()) for name in ("student", "teacher")}
    center = modules["centre"].value.numpy()
    terms = []
    for i, t in enumerate(teacher):
        targets = np.stack([softmax((row - center) / temperature) for row in unit(t) @ rows["teacher"].T])
        for j, s in enumerate(student):
            if i != j:
                terms.append(cross_entropy(targets, unit(s) @ rows["student"].T / 0.1))
    return float(np.mean(terms))


@pytest.mark.parametrize("count", [2, 4])
def test_dino_is_the_literal_formula_before_and_after_a_step(count: int, context: Build) -> None:
    config = dino.Config(prototypes=6, momentum=0.9)
    modules = built(dino, config)
    student, teacher = drawn(count, 9, 5), drawn(2, 9, 5, seed=1)
    outputs = Outputs(tensors(student), tensors(teacher))
    at = context(config, modules, step=50, total_steps=100)
    assert dino.loss(outputs, at)["loss"].item() == pytest.approx(literal_dino(student, teacher, modules, 0.04))
    before = modules["teacher"].weight.clone()
    modules["student"].weight.data.mul_(-1)
    given = np.concatenate([unit(t) @ unit(before.numpy()).T for t in teacher])
    with torch.no_grad():
        dino.after_step(outputs, at)
    np.testing.assert_allclose(modules["centre"].value.numpy(), 0.1 * given.mean(0))
    torch.testing.assert_close(modules["teacher"].weight.data, 0.95 * before + 0.05 * modules["student"].weight.data)
    assert dino.loss(outputs, at)["loss"].item() == pytest.approx(literal_dino(student, teacher, modules, 0.04))


def test_dino_shows_the_teacher_the_first_two_views() -> None:
    routes = dino.routes(dino.Config(), 6)
    assert routes.student == tuple(range(6))
    assert routes.teacher == (0, 1)


@pytest.mark.parametrize(("warmup", "expected"), [(4, [0.04, 0.05, 0.06, 0.07, 0.07]), (1, [0.04, 0.07]), (0, [0.07])])
def test_the_teacher_temperature_rises_by_equal_steps(warmup: int, expected: list[float]) -> None:
    config = dino.Config(warmup_epochs=warmup)
    assert [dino.teacher_temperature(epoch, config) for epoch in range(len(expected))] == pytest.approx(expected)
