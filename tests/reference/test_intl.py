"""INTL against a literal float64 version written from spec 1.1, and against the published implementation's numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from decorssl.methods import Context, Outputs, intl
from decorssl.whiten import covariance, iternorm, observed

GOLDEN = Path(__file__).parent / "golden"
INDEX = json.loads((GOLDEN / "index_intl.json").read_text())


def context(config: intl.Config) -> Context:
    return Context(config, 0, 1, 0, 1, torch.Generator(), lambda z: z, torch.nn.ModuleDict())


def literal_loss(views: list[np.ndarray], iterations: int, between: str, beta: float) -> float:
    """Spec 1.1 word for word, with loops and numpy's own variance."""
    whitened = []
    for z in views:
        x = (z if between == "samples" else z.T).astype(np.float64)
        x = np.stack([row - row.mean() for row in x])
        sigma = x @ x.T / (x.shape[1] - 1)
        s = sigma / np.trace(sigma)
        p = np.eye(len(x))
        for _ in range(iterations):
            p = 1.5 * p - 0.5 * (p @ p @ p @ s)
        out = p / np.sqrt(np.trace(sigma)) @ x
        whitened.append(out if between == "samples" else out.T)
    traces = [sum((np.var(r, ddof=1) - 1) ** 2 for r in (w if between == "samples" else w.T)) for w in whitened]
    total = 0.0
    for i in range(1, len(views)):
        cosines = [
            a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(whitened[i], whitened[0], strict=True)
        ]
        total += 2 - 2 * float(np.mean(cosines)) + beta * (traces[i] + traces[0])
    return total / (len(views) - 1)


@pytest.mark.parametrize("between", ["samples", "channels"])
@pytest.mark.parametrize("n_views", [2, 4])
def test_loss_is_the_literal_formula(between: str, n_views: int) -> None:
    rng = np.random.default_rng(3)
    views = [rng.normal(size=(32, 48)) + 0.5 for _ in range(n_views)]
    config = intl.Config(covariance_between=between)
    beta = 0.01 * (math.log2(32 if between == "samples" else 48) - 3)
    ours = intl.loss(Outputs(tuple(map(torch.from_numpy, views))), context(config))["loss"].item()
    assert ours == pytest.approx(literal_loss(views, 4, between, beta), rel=1e-12)


@pytest.mark.parametrize("name", list(INDEX))
def test_loss_and_gradients_equal_the_published_implementation(name: str) -> None:
    expected, arrays = INDEX[name], np.load(GOLDEN / f"{name}.npz")
    count = sum(key.startswith("view") for key in arrays.files)
    views = tuple(torch.from_numpy(arrays[f"view{i}"]).double().requires_grad_() for i in range(count))
    config = intl.Config(
        iterations=expected["iterations"],
        covariance_between=expected["covariance_between"],
        trade_off=None,
    )
    value = intl.loss(Outputs(views), context(config))["loss"]
    value.backward()
    assert intl.trade_off(config, *views[0].shape) == pytest.approx(expected["trade_off"])
    assert value.item() == pytest.approx(expected["loss"], rel=1e-9)
    for i, view in enumerate(views):
        reference = torch.from_numpy(arrays[f"grad{i}"]).double()
        assert view.grad is not None
        assert (view.grad - reference).norm() <= 1e-9 * reference.norm()


@pytest.mark.parametrize(("batch", "expected"), [(64, 0.03), (128, 0.04), (256, 0.05), (512, 0.06), (1024, 0.07)])
def test_trade_off_follows_the_batch(batch: int, expected: float) -> None:
    assert intl.trade_off(intl.Config(), batch, 2048) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "minimum"), [(64, 28.8), (128, 85.8), (256, 209.6)])
def test_equal_eigenvalues_leave_the_published_trace_loss(n: int, minimum: float) -> None:
    orthonormal = torch.linalg.qr(
        torch.randn(4 * n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0].T
    centred = orthonormal - orthonormal.mean(1, keepdim=True)
    rows = torch.linalg.qr(centred.T)[0].T.contiguous()
    value = intl.trace_loss(iternorm(rows, 4, "samples"), "samples")
    assert value.item() == pytest.approx(minimum, abs=0.06)


def test_iternorm_maps_eigenvalues_as_the_polynomial_says() -> None:
    z = torch.randn(24, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = observed(z, "samples")
    sigma = covariance(rows)
    f = torch.ones(24, dtype=torch.float64)
    x = torch.linalg.eigvalsh(sigma) / sigma.trace()
    for _ in range(4):
        f = 1.5 * f - 0.5 * x * f**3
    out = torch.linalg.eigvalsh(covariance(observed(iternorm(z, 4, "samples"), "samples")))
    torch.testing.assert_close(out, (x * f**2).sort().values, rtol=1e-9, atol=1e-12)


def test_whitening_is_float32_under_bfloat16_autocast() -> None:
    z = torch.randn(32, 64, generator=torch.Generator().manual_seed(2))
    plain = iternorm(z, 4, "samples")
    with torch.autocast("cpu", torch.bfloat16):
        under = iternorm(z, 4, "samples")
    assert under.dtype == torch.float32
    assert torch.equal(plain, under)


@pytest.mark.parametrize("between", ["samples", "channels"])
def test_gradcheck(between: str) -> None:
    views = tuple(torch.randn(6, 9, dtype=torch.float64, requires_grad=True) for _ in range(2))
    config = intl.Config(covariance_between=between, trade_off=0.05)
    assert torch.autograd.gradcheck(lambda *v: intl.loss(Outputs(v), context(config))["loss"], views)
