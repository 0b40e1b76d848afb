"""W2 uniformity against its authors' numbers, and against the formula element by element in float64."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl.losses import W2Uniformity
from decorssl.uniformity import Uniformity, w2
from transferbench.errors import UserError

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, Any] = json.loads((GOLDEN / "index_uniformity.json").read_text())["cases"]
EPS = {"BYOL": 0.0, "BarlowTwins": 1e-12, "MoCov2": 1e-4}
"""What each code adds to the diagonal."""


def views(n: int, d: int, count: int = 2, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.1, 2, d, dtype=torch.float64)
    return [torch.randn(n, d, dtype=torch.float64, generator=generator) * scale + 0.3 for _ in range(count)]


def literal(each: list[Tensor], eps: float) -> float:
    """The formula, sum by sum; the root of S by singular values of the centered rows where there is no eps."""
    rows = [[float(v) for v in row] for z in each for row in z]
    rows = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in rows]
    n, d = len(rows), len(rows[0])
    mean = [sum(row[j] for row in rows) / n for j in range(d)]
    sigma = np.zeros((d, d))
    for i in range(d):
        for j in range(d):
            sigma[i, j] = sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in rows) / n + (eps if i == j else 0)
    centered = np.array([[row[j] - mean[j] for j in range(d)] for row in rows])
    roots = np.linalg.svd(centered, compute_uv=False) / math.sqrt(n) if not eps else np.linalg.eigvalsh(sigma) ** 0.5
    return math.sqrt(sum(m * m for m in mean) + 1 + sum(sigma[i, i] for i in range(d)) - 2 / math.sqrt(d) * roots.sum())


@pytest.mark.parametrize("code", EPS)
@pytest.mark.parametrize("name", CASES)
def test_the_distance_is_the_published_codes(name: str, code: str) -> None:
    case, kept = CASES[name], np.load(GOLDEN / f"{name}.npz")
    given = [torch.tensor(kept[f"view{i}"], requires_grad=True) for i in (0, 1)]
    found = w2(given, EPS[code])
    # Their root of a singular covariance takes rounding for eigenvalues of 1e-17, each a singular value of 3e-9.
    near = 1e-9 if 2 * case["n"] > case["d"] or code == "MoCov2" else 2e-8
    assert found.item() == pytest.approx(case["loss"][code], rel=near)
    if f"{code}_grad0" not in kept:
        return
    for i, slope in enumerate(torch.autograd.grad(found, given)):
        expected = torch.tensor(kept[f"{code}_grad{i}"])
        assert (slope - expected).norm() <= 10 * near * expected.norm()


@pytest.mark.parametrize("eps", [0.0, 1e-3])
@pytest.mark.parametrize(("n", "d"), [(20, 6), (4, 9), (5, 10)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_distance_is_the_formulas(n: int, d: int, count: int, eps: float) -> None:
    each = views(n, d, count)
    assert w2(each, eps).item() == pytest.approx(literal(each, eps), rel=1e-10)
    assert W2Uniformity(eps)(*each).item() == w2(each, eps).item()


@pytest.mark.parametrize("eps", [0.0, 1e-3])
@pytest.mark.parametrize(("n", "d"), [(8, 3), (3, 9)])
def test_the_gradient_is_that_of_finite_differences(n: int, d: int, eps: float) -> None:
    each = [z.requires_grad_() for z in views(n, d)]
    assert torch.autograd.gradcheck(lambda *z: w2(z, eps), each, eps=1e-6, atol=1e-8, rtol=1e-5)


def test_it_is_0_for_uniform_embeddings_and_the_root_of_2_for_one_point() -> None:
    axes = torch.cat([torch.eye(6), -torch.eye(6)]).double()
    assert w2([3 * axes]).item() < 1e-7
    assert w2([torch.ones(4, 6), torch.ones(4, 6)]).item() == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("eps", [0.0, 1e-4])
def test_the_gradient_is_finite_and_small_where_eigenvalues_are_zero(eps: float) -> None:
    """Collapsed, of rank one, the same in both views, uniform; autograd through eigenvectors gives NaN or 1e8 there."""
    line = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None] * torch.ones(8, 5, dtype=torch.float64)
    (once,) = views(4, 9, 1)
    for case in (
        [torch.ones(8, 5).double()] * 2,
        [line],
        [once, once],
        [torch.eye(6).double(), -torch.eye(6).double()],
    ):
        given = [z.clone().requires_grad_() for z in case]
        for slope in torch.autograd.grad(w2(given, eps), given):
            assert slope.norm() < 1


def test_embeddings_in_float32_lose_nothing_in_the_covariance() -> None:
    """All but two dimensions hold a ten thousandth of the rest: float32's covariance would have 1e-7 of rounding."""
    (z,) = views(32, 12, 1)
    z[:, 2:] *= 1e-4
    found = w2([z.float()])
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(literal([z.float()], 0.0), rel=2e-7)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(w2([z.float()]), found)


def test_the_weight_goes_by_a_line_that_ends_with_the_last_epoch() -> None:
    published = Uniformity(weight=30.0, final_weight=0.0)
    assert [published.at(epoch, 500) for epoch in (0, 1, 249, 499)] == pytest.approx([29.94, 29.88, 15.0, 0.0])
    assert [Uniformity(weight=0.2).at(epoch, 500) for epoch in (0, 499)] == [0.2, 0.2]
    assert Uniformity(weight=1.0, final_weight=3.0).at(0, 2) == 2.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="W2Uniformity: found no embeddings"):
        W2Uniformity()()
    with pytest.raises(UserError, match=r"W2Uniformity: view 2 has shape \(3, 4\)"):
        W2Uniformity()(torch.zeros(4, 4), torch.zeros(3, 4))
    with pytest.raises(UserError, match="eps=-1"):
        W2Uniformity(-1.0)
    with pytest.raises(UserError, match="found eps=inf"):
        W2Uniformity(float("inf"))
