"""VISReg against a literal float64 version of docs/methods.md#visreg, and the authors' numbers."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from decorssl.methods import Context, Outputs, visreg

GOLDEN = Path(__file__).parent / "golden"
INDEX = json.loads((GOLDEN / "index_visreg.json").read_text())
Build = Callable[..., Context]


@pytest.fixture
def along(monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], None]:
    """`along(a)`: the loss looks along the rows of `a`, in chunks, whatever the generator."""

    def fix(rows: np.ndarray) -> None:
        monkeypatch.setattr(visreg, "directions", lambda *_: torch.from_numpy(rows).split(64))

    return fix


def deviations(z: np.ndarray, eps: float) -> list[float]:
    """Of the channels, from the biased variance."""
    n, d = z.shape
    means = [sum(z[i, j] for i in range(n)) / n for j in range(d)]
    return [math.sqrt(sum((z[i, j] - means[j]) ** 2 for i in range(n)) / n) + eps for j in range(d)]


def literal_loss(
    views: list[np.ndarray], rows: np.ndarray, config: visreg.Config, divisors: list[list[float]]
) -> float:
    """The formula word for word; `divisors` are the deviations that take no gradient."""
    n, d = views[0].shape
    seen, count = views[: config.global_views], len(views)
    invariance = scale = center = form = 0.0
    for z, fixed in zip(views, divisors, strict=True):
        means = [sum(z[i, j] for i in range(n)) / n for j in range(d)]
        for j in range(d):
            center += means[j] ** 2 / (count * d)
            scale += (deviations(z, config.eps)[j] - 1) ** 2 / (count * d)
            for i in range(n):
                invariance += (z[i, j] - sum(g[i, j] for g in seen) / len(seen)) ** 2 / (count * n * d)
        for a in rows:
            ordered = sorted(sum(a[j] * (z[i, j] - means[j]) / fixed[j] for j in range(d)) for i in range(n))
            for i, p in enumerate(ordered, start=1):
                form += (p - NormalDist().inv_cdf(i / (n + 1))) ** 2 / (count * len(rows) * n)
    regularization = config.scale_weight * scale + config.shape_weight * form + config.center_weight * center
    return (1 - config.weight) * invariance + config.weight * regularization


@pytest.mark.parametrize(
    ("count", "settings"),
    [
        (2, {}),
        (3, {"weight": 0.4, "global_views": 1, "scale_weight": 2.0, "shape_weight": 3.0, "center_weight": 0.5}),
        (5, {"weight": 0.6, "global_views": 4, "eps": 0.1}),
    ],
)
def test_loss_and_gradient_are_those_of_the_literal_formula(
    count: int, settings: dict[str, Any], along: Callable[[np.ndarray], None], context: Build
) -> None:
    rng = np.random.default_rng(5)
    views = [1.5 * rng.normal(size=(6, 3)) + 0.3 for _ in range(count)]
    rows = rng.normal(size=(4, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    config = visreg.Config(**settings)
    divisors = [deviations(z, config.eps) for z in views]
    along(rows)
    tensors = tuple(torch.from_numpy(z.copy()).requires_grad_() for z in views)
    value = visreg.loss(Outputs(tensors), context(config))["loss"]
    value.backward()
    assert value.item() == pytest.approx(literal_loss(views, rows, config, divisors), rel=1e-12)
    for tensor, z in zip(tensors, views, strict=True):
        slopes = np.zeros_like(z)
        for place in np.ndindex(z.shape):
            at, ends = z[place], []
            for moved in (at + 1e-6, at - 1e-6):
                z[place] = moved
                ends.append(literal_loss(views, rows, config, divisors))
            z[place] = at
            slopes[place] = (ends[0] - ends[1]) / 2e-6
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad.numpy(), slopes, atol=1e-8)


@pytest.mark.parametrize("name", INDEX)
def test_loss_and_gradients_equal_the_authors(name: str, along: Callable[[np.ndarray], None], context: Build) -> None:
    arrays, expected = np.load(GOLDEN / f"{name}.npz"), INDEX[name]
    count = sum(key.startswith("view") for key in arrays.files)
    views = tuple(torch.from_numpy(arrays[f"view{i}"]).requires_grad_() for i in range(count))
    along(arrays["directions"])
    value = visreg.loss(Outputs(views), context(visreg.Config(**expected["settings"])))["loss"]
    value.backward()
    assert value.item() == pytest.approx(expected["loss"], rel=1e-9)
    for i, view in enumerate(views):
        reference = torch.from_numpy(arrays[f"grad{i}"])
        assert view.grad is not None
        assert (view.grad - reference).norm() <= 1e-9 * reference.norm()


def test_collapsed_embeddings_have_a_finite_gradient(context: Build) -> None:
    views = tuple(torch.full((8, 4), 0.3).requires_grad_() for _ in range(2))
    visreg.loss(Outputs(views), context(visreg.Config(directions=8)))["loss"].backward()
    assert all(z.grad is not None and z.grad.isfinite().all() for z in views)
