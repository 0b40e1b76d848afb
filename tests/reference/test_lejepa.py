"""LeJEPA against a literal float64 version of docs/methods.md#lejepa, and the authors' numbers."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decorssl.methods import Context, Outputs, lejepa

GOLDEN = Path(__file__).parent / "golden"
INDEX = json.loads((GOLDEN / "index_lejepa.json").read_text())
Build = Callable[..., Context]


@pytest.fixture
def along(monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], None]:
    """`along(a)`: the loss looks along the rows of `a`, in chunks, whatever the generator."""

    def fix(rows: np.ndarray) -> None:
        monkeypatch.setattr(lejepa, "directions", lambda *_: torch.from_numpy(rows).split(64))

    return fix


def literal_statistic(projections: list[float], t_max: float, knots: int) -> float:
    """n times the integral over [-t_max, t_max] of |phi_n - phi|^2 phi, knot by knot on both sides of 0."""
    n, spacing = len(projections), t_max / (knots - 1)
    total = 0.0
    for k in range(-(knots - 1), knots):
        t = k * spacing
        real = sum(math.cos(t * x) for x in projections) / n
        imaginary = sum(math.sin(t * x) for x in projections) / n
        gaussian = math.exp(-t * t / 2)
        end = 0.5 if abs(k) == knots - 1 else 1.0
        total += end * spacing * ((real - gaussian) ** 2 + imaginary**2) * gaussian
    return n * total


def literal_loss(views: list[np.ndarray], rows: np.ndarray, config: lejepa.Config) -> float:
    """The formula word for word, element by element."""
    n, d = views[0].shape
    seen = views[: config.global_views]
    distance = 0.0
    for z in views:
        for i in range(n):
            for j in range(d):
                distance += (z[i, j] - sum(g[i, j] for g in seen) / len(seen)) ** 2
    samples = [np.concatenate(views)] if config.pooled else views
    statistics = [
        literal_statistic([float(row @ a) for row in z], config.max_frequency, config.knots)
        for z in samples
        for a in rows
    ]
    invariance = distance / (len(views) * n * d)
    return (1 - config.weight) * invariance + config.weight * sum(statistics) / len(statistics)


@pytest.mark.parametrize(
    ("count", "settings"),
    [
        (2, {}),
        (3, {"weight": 0.5, "global_views": 1}),
        (4, {"weight": 0.3, "pooled": True, "knots": 9, "max_frequency": 5.0}),
    ],
)
def test_loss_and_gradient_are_those_of_the_literal_formula(
    count: int, settings: dict[str, Any], along: Callable[[np.ndarray], None], context: Build
) -> None:
    rng = np.random.default_rng(4)
    views = [rng.normal(size=(5, 3)) + 0.3 for _ in range(count)]
    rows = rng.normal(size=(4, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    config = lejepa.Config(**settings)
    along(rows)
    tensors = tuple(torch.from_numpy(z.copy()).requires_grad_() for z in views)
    value = lejepa.loss(Outputs(tensors), context(config))["loss"]
    value.backward()
    assert value.item() == pytest.approx(literal_loss(views, rows, config), rel=1e-12)
    for tensor, z in zip(tensors, views, strict=True):
        slopes = np.zeros_like(z)
        for place in np.ndindex(z.shape):
            at, ends = z[place], []
            for moved in (at + 1e-5, at - 1e-5):
                z[place] = moved
                ends.append(literal_loss(views, rows, config))
            z[place] = at
            slopes[place] = (ends[0] - ends[1]) / 2e-5
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad.numpy(), slopes, atol=1e-8)


@pytest.mark.parametrize("name", INDEX)
def test_loss_and_gradients_equal_the_authors(name: str, along: Callable[[np.ndarray], None], context: Build) -> None:
    arrays, expected = np.load(GOLDEN / f"{name}.npz"), INDEX[name]
    count = sum(key.startswith("view") for key in arrays.files)
    views = tuple(torch.from_numpy(arrays[f"view{i}"]).requires_grad_() for i in range(count))
    along(arrays["directions"])
    value = lejepa.loss(Outputs(views), context(lejepa.Config(**expected["settings"])))["loss"]
    value.backward()
    assert value.item() == pytest.approx(expected["loss"], rel=1e-9)
    for i, view in enumerate(views):
        reference = torch.from_numpy(arrays[f"grad{i}"])
        assert view.grad is not None
        assert (view.grad - reference).norm() <= 1e-9 * reference.norm()
