"""INTL against a literal float64 version of docs/methods.md#intl, and the published implementation's numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from decorssl.methods import Context, Outputs, intl
from decorssl.whiten import covariance, iternorm, observed

GOLDEN = Path(__file__).parent / "golden"
INDEX = {k: v for k, v in json.loads((GOLDEN / "index_intl.json").read_text()).items() if v["method"] == "INTL"}


def context(config: intl.Config) -> Context:
    return Context(config, 0, 1, 0, 1, torch.Generator(), lambda z: z, torch.nn.ModuleDict())


def literal_loss(views: list[np.ndarray], iterations: int, between: str, beta: float) -> float:
    """The formula word for word, with loops and numpy's own variance."""
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
@pytest.mark.parametrize("iterations", [1, 4, 5])
@pytest.mark.parametrize(("n_views", "shape"), [(2, (32, 48)), (6, (32, 48)), (2, (48, 32)), (3, (48, 32))])
def test_loss_is_the_literal_formula(between: str, iterations: int, n_views: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    views = [rng.normal(size=shape) + 0.5 for _ in range(n_views)]
    config = intl.Config(covariance_between=between, iterations=iterations)
    beta = 0.01 * (math.log2(shape[0 if between == "samples" else 1]) - 3)
    ours = intl.loss(Outputs(tuple(map(torch.from_numpy, views))), context(config))["loss"].item()
    assert ours == pytest.approx(literal_loss(views, iterations, between, beta), rel=1e-11)


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
    centered = orthonormal - orthonormal.mean(1, keepdim=True)
    rows = torch.linalg.qr(centered.T)[0].T.contiguous()
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
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_gradcheck(between: str, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    views = tuple(torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3))
    config = intl.Config(covariance_between=between, trade_off=0.05)
    assert torch.autograd.gradcheck(lambda *v: intl.loss(Outputs(v), context(config))["loss"], views)


@pytest.mark.parametrize(
    ("between", "shape"), [("samples", (256, 512)), ("channels", (256, 512)), ("samples", (128, 96))]
)
def test_float32_gradients_are_those_of_float64(between: str, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(shape, generator=generator)
    views = [image + 0.5 * torch.randn(shape, generator=generator) for _ in range(2)]

    def gradients(dtype: torch.dtype) -> torch.Tensor:
        inputs = tuple(z.to(dtype).requires_grad_() for z in views)
        value = intl.loss(Outputs(inputs), context(intl.Config(covariance_between=between)))["loss"]
        return torch.cat(torch.autograd.grad(value, inputs))

    exact = gradients(torch.float64)
    assert (gradients(torch.float32) - exact).norm() <= 6e-6 * exact.norm()


@pytest.mark.parametrize("between", ["samples", "channels"])
@pytest.mark.parametrize("shape", [(16, 24), (24, 16)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_collapsed_batch_leaves_loss_and_gradients_finite(between: str, shape: tuple[int, int], value: float) -> None:
    row = value * torch.randn(shape[1], generator=torch.Generator().manual_seed(0))
    views = tuple(row.repeat(shape[0], 1).requires_grad_() for _ in range(2))
    loss = intl.loss(Outputs(views), context(intl.Config(covariance_between=between)))["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(view.grad is not None and view.grad.isfinite().all() for view in views)
