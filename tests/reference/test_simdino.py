"""SimDINO against the authors' numbers and the literal formula."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from decorssl.methods import Context, Outputs, simdino

GOLDEN = Path(__file__).parent / "golden"
INDEX: dict[str, Any] = json.loads((GOLDEN / "index_simdino.json").read_text())
Array = npt.NDArray[np.float64]
Build = Callable[..., Context]


def tensors(views: list[Array]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(view) for view in views)


def drawn(count: int, n: int, d: int) -> tuple[list[Array], list[Array]]:
    """(the student's, the teacher's) of correlated views."""
    rng = np.random.default_rng(count)
    image = rng.standard_normal((n, d))
    views = [(1 + i) * (image + 0.5 * rng.standard_normal((n, d))) for i in range(count)]
    return views, [view + 0.3 * rng.standard_normal((n, d)) for view in views[:2]]


@pytest.mark.parametrize("name", INDEX)
def test_loss_terms_and_gradients_are_those_of_the_authors_code(name: str, context: Build) -> None:
    arrays, told = np.load(GOLDEN / f"{name}.npz"), INDEX[name]
    views, teacher = (
        tensors([arrays[key] for key in arrays.files if key.startswith(kind)]) for kind in ("view", "teacher")
    )
    outputs = Outputs(tuple(view.requires_grad_() for view in views), teacher)
    terms = simdino.loss(outputs, context(simdino.Config(**told["settings"])))
    for key in ("loss", "compression", "expansion"):
        assert terms[key].item() == pytest.approx(told[key], rel=1e-12)
    for i, slope in enumerate(torch.autograd.grad(terms["loss"], views)):
        expected = torch.from_numpy(arrays[f"grad{i}"])
        assert (slope - expected).norm() <= 1e-9 * expected.norm()


def literal(student: list[Array], teacher: list[Array], config: simdino.Config) -> float:
    """Element by element."""
    n, d = student[0].shape
    seen, taught = (
        [np.array([row / np.sqrt(sum(x * x for x in row)) for row in view]) for view in views]
        for views in (student, teacher)
    )
    cosines = [
        np.mean([sum(t[i] * s[i]) for i in range(n)])
        for a, t in enumerate(taught)
        for b, s in enumerate(seen)
        if a != b
    ]
    rates = []
    for s, t in zip(seen, taught, strict=False):
        expanded = (s + t) / 2 if config.expansion_of == "mean" else s
        matrix = np.empty((d, d))
        for j in range(d):
            for k in range(d):
                matrix[j, k] = (j == k) + d / (n * config.eps) * sum(expanded[:, j] * expanded[:, k])
        rates.append(np.log(np.linalg.eigvalsh(matrix)).sum() / 2)
    return float(-config.compression_weight * np.mean(cosines) - (d + n) / (d * n) * np.mean(rates))


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize("of", ["mean", "student"])
def test_the_loss_is_the_literal_formula(of: Any, count: int, shape: tuple[int, int], context: Build) -> None:
    config = simdino.Config(compression_weight=3.0, eps=0.3, expansion_of=of)
    student, teacher = drawn(count, *shape)
    found = simdino.loss(Outputs(tensors(student), tensors(teacher)), context(config))["loss"]
    assert found.item() == pytest.approx(literal(student, teacher, config), rel=1e-12)


def test_the_defaults_are_the_published_ones() -> None:
    expected = {"compression_weight": 1.0, "eps": 0.05, "expansion_of": "mean", "momentum": 0.996}
    assert simdino.Config().model_dump() == expected


def test_the_teacher_sees_the_first_two_views() -> None:
    routes = simdino.routes(simdino.Config(), 6)
    assert routes.student == tuple(range(6))
    assert routes.teacher == (0, 1)


def test_the_momentum_rises_along_half_a_cosine(context: Build) -> None:
    config = simdino.Config(momentum=0.9)
    found = [simdino.momentum(context(config, step=step, total_steps=100)) for step in (0, 25, 50, 100)]
    assert found == pytest.approx([0.9, 1 - 0.05 * (1 + np.sqrt(0.5)), 0.95, 1.0])
