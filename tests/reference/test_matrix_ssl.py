"""Matrix-SSL against the authors' numbers (index_matrix_ssl.json) and against its formula, power by power."""

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from decorssl.methods import Context, Outputs, matrix_ssl

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, Any] = json.loads((GOLDEN / "index_matrix_ssl.json").read_text())["cases"]
Build = Callable[..., Context]
NOTHING = nn.ModuleDict({"predictor": nn.Identity()})


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_equal_the_authors(case: str, context: Build) -> None:
    arrays, size = np.load(GOLDEN / "matrix_ssl.npz"), case.partition("_")[0]
    student = tuple(torch.from_numpy(arrays[f"{size}_student{i}"]).requires_grad_() for i in (0, 1))
    teacher = tuple(torch.from_numpy(arrays[f"{size}_teacher{i}"]) for i in (0, 1))
    config = matrix_ssl.Config(**CASES[case]["settings"])
    value = matrix_ssl.loss(Outputs(student, teacher), context(config, NOTHING))["loss"]
    value.backward()
    assert value.item() == pytest.approx(CASES[case]["loss"], rel=1e-9)
    for i, view in enumerate(student):
        expected = torch.from_numpy(arrays[f"{case}_student{i}_grad"])
        assert view.grad is not None
        assert (view.grad - expected).norm() <= 1e-9 * expected.norm()


def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between channels of rows scaled to length 1, one pair of channels at a time."""
    n, d = a.shape
    a, b = (np.stack([row / np.sqrt(sum(row * row)) for row in z]) for z in (a, b))
    result = np.empty((d, d))
    for i in range(d):
        for j in range(d):
            result[i, j] = sum((a[:, i] - a[:, i].mean()) * (b[:, j] - b[:, j].mean())) / n
    return result


def cross_entropy(p: np.ndarray, q: np.ndarray) -> float:
    """-tr(P log_4(Q)), from powers of Q - I."""
    power, logarithm = np.eye(len(q)), np.zeros_like(q)
    for k in (1, 2, 3, 4):
        power = power @ (q - np.eye(len(q)))
        logarithm += (-1) ** (k + 1) / k * power
    return -float(np.trace(p @ logarithm))


@pytest.mark.parametrize("mu", [1.0, 0.6])
@pytest.mark.parametrize(("count", "n", "d"), [(2, 9, 4), (2, 5, 8), (3, 6, 6)])
def test_it_is_the_literal_formula(count: int, n: int, d: int, mu: float, context: Build) -> None:
    rng = np.random.default_rng(count)
    student, teacher = ([rng.normal(size=(n, d)) + 0.5 for _ in range(count)] for _ in range(2))
    identity, aligned, uniform = np.eye(d), [], []
    for a, b in permutations(range(count), 2):
        aligned.append(cross_entropy(identity, covariance(teacher[a], student[b]) + mu * identity))
        own = covariance(teacher[a], teacher[a]), covariance(student[b], student[b])
        uniform.append(cross_entropy(*(c + mu * identity for c in own)))
    config = matrix_ssl.Config(mu=mu, alignment_weight=0.7, uniformity_weight=0.2)
    outputs = Outputs(tuple(map(torch.from_numpy, student)), tuple(map(torch.from_numpy, teacher)))
    terms = matrix_ssl.loss(outputs, context(config, NOTHING))
    assert terms["alignment"].item() == pytest.approx(np.mean(aligned))
    assert terms["uniformity"].item() == pytest.approx(np.mean(uniform))
    assert terms["loss"].item() == pytest.approx(0.7 * np.mean(aligned) + 0.2 * np.mean(uniform))


@pytest.mark.parametrize(("n", "d"), [(6, 3), (4, 6)])
def test_the_gradient_is_that_of_finite_differences(n: int, d: int, context: Build) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(n, d, dtype=torch.float64, generator=generator) for _ in range(4)]
    student, taught = [z.requires_grad_() for z in rows[:2]], tuple(rows[2:])
    now = context(matrix_ssl.Config(mu=0.6), NOTHING)
    assert torch.autograd.gradcheck(lambda *z: matrix_ssl.loss(Outputs(z, taught), now)["loss"], student)


def test_the_predictor_is_part_of_the_loss_and_the_momentum_rises_to_one(context: Build) -> None:
    config = matrix_ssl.Config(predictor_hidden=5)
    modules = matrix_ssl.modules(8, config)
    shapes = {name: tuple(each.shape) for name, each in modules.named_parameters() if each.ndim == 2}
    assert shapes == {"predictor.0.weight": (5, 8), "predictor.3.weight": (8, 5)}
    assert "predictor.0.bias" not in dict(modules.named_parameters())
    z = tuple(torch.randn(16, 8, generator=torch.Generator().manual_seed(i)) for i in range(2))
    first = matrix_ssl.loss(Outputs(z, z), context(config, modules))["loss"]
    assert matrix_ssl.loss(Outputs(z, z), context(config, NOTHING))["loss"] != first
    first.backward()
    assert all(each.grad is not None for each in modules.parameters())
    assert [matrix_ssl.momentum(context(config, step=step, total_steps=10)) for step in (0, 5, 10)] == [0.996, 0.998, 1]
