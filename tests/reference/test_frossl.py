"""FroSSL against the authors' numbers (index_frossl.json) and against its formula, element by element."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decorssl.methods import Context, Outputs, frossl

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, Any] = json.loads((GOLDEN / "index_frossl.json").read_text())["cases"]
Build = Callable[..., Context]


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_equal_the_authors(case: str, context: Build) -> None:
    arrays, size = np.load(GOLDEN / "frossl.npz"), case.partition("_")[0]
    count = sum(key.startswith(f"{case}_view") for key in arrays.files)
    views = tuple(torch.from_numpy(arrays[f"{size}_view{i}"]).requires_grad_() for i in range(count))
    value = frossl.loss(Outputs(views), context(frossl.Config(**CASES[case]["settings"])))["loss"]
    value.backward()
    assert value.item() == pytest.approx(CASES[case]["loss"], rel=1e-9)
    for i, view in enumerate(views):
        expected = torch.from_numpy(arrays[f"{case}_view{i}_grad"])
        assert view.grad is not None
        assert (view.grad - expected).norm() <= 1e-9 * expected.norm()


def literal(views: list[np.ndarray], centered: bool) -> tuple[float, float]:
    """(invariance, sum of entropies): docs/methods.md#frossl, one channel at a time."""
    n, d = views[0].shape
    units = [z.copy() for z in views]
    for u in units:
        for j in range(d):
            u[:, j] -= u[:, j].mean() if centered else 0.0
            u[:, j] /= math.sqrt(sum(x * x for x in u[:, j]))
    middle = sum(units) / len(units)
    invariance = len(units) / n * sum((u[i, j] - middle[i, j]) ** 2 for u in units for i in range(n) for j in range(d))
    entropy = 0.0
    for u in units:
        values = np.linalg.svd(u)[1] ** 2
        entropy -= math.log(sum((x / sum(values)) ** 2 for x in values))
    return float(invariance), entropy


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(("count", "n", "d"), [(2, 9, 4), (4, 5, 7), (3, 6, 6)])
def test_it_is_the_literal_formula(count: int, n: int, d: int, centered: bool, context: Build) -> None:
    rng = np.random.default_rng(count)
    views = [rng.normal(size=(n, d)) + 0.5 for _ in range(count)]
    config = frossl.Config(invariance_weight=0.3, centered=centered)
    terms = frossl.loss(Outputs(tuple(map(torch.from_numpy, views))), context(config))
    invariance, entropy = literal(views, centered)
    assert terms["invariance"].item() == pytest.approx(invariance)
    assert terms["entropy"].item() == pytest.approx(entropy)
    assert terms["loss"].item() == pytest.approx(0.3 * invariance - entropy)


@pytest.mark.parametrize(("n", "d"), [(7, 3), (4, 6)])
def test_the_gradient_is_that_of_finite_differences(n: int, d: int, context: Build) -> None:
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(n, d, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3)]
    told = context(frossl.Config())
    assert torch.autograd.gradcheck(lambda *z: frossl.loss(Outputs(z), told)["loss"], views)


def test_entropy_is_highest_for_channels_at_right_angles_and_zero_for_copies() -> None:
    assert frossl.entropy(torch.eye(8)[:, :5]).item() == pytest.approx(math.log(5))
    assert frossl.entropy(torch.full((8, 5), 8**-0.5)).item() == pytest.approx(0, abs=1e-6)
