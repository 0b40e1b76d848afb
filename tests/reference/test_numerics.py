"""Singular matrices and equal eigenvalues; closed-form gradients against differences and float64."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from decorssl.methods import Context, Outputs, barlow_twins, cwrgp, dbn, pca, st, vicreg, wmse, zca
from decorssl.pairs import mean_over_pairs, normalized_mse
from decorssl.spectral import Factor, inverse, reordered, rotated_root, triangular_root, whiten

LOCAL = {
    "cwrgp": (cwrgp, cwrgp.Config(w_size=8, groups=2, w_iter=2)),
    "wmse": (wmse, wmse.Config(w_size=16)),
    "zca": (zca, zca.Config(w_size=16)),
    "pca": (pca, pca.Config(w_size=16)),
    "dbn": (dbn, dbn.Config(groups=4, shuffled=True)),
}


def loss(module: Any, config: Any, views: tuple[Tensor, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    context = Context(config, 0, 1, 0, 1, generator, lambda z: z, torch.nn.ModuleDict())
    return module.loss(Outputs(views), context)["loss"]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def singular(kind: str, n: int, d: int) -> Tensor:
    match kind:
        case "zero":
            return torch.zeros(n, d)
        case "constant":
            return normal(d, dtype=torch.float32).expand(n, d).clone()
        case "low rank":
            return normal(n, 3, dtype=torch.float32) @ normal(3, d, seed=1, dtype=torch.float32)
        case "twins":
            half = normal(n // 2, d, dtype=torch.float32)
            return torch.cat([half, half])
        case "orthonormal":
            tall = torch.linalg.qr(normal(max(n, d), min(n, d), dtype=torch.float32)).Q
            return tall if n > d else tall.T.contiguous()
    raise AssertionError(kind)


@pytest.mark.parametrize("name", list(LOCAL))
@pytest.mark.parametrize("kind", ["zero", "constant", "low rank", "twins", "orthonormal"])
def test_singular_batches_and_equal_eigenvalues_leave_loss_and_gradients_finite(name: str, kind: str) -> None:
    module, config = LOCAL[name]
    views = tuple(singular(kind, 16, 32 if name == "cwrgp" else 8).requires_grad_() for _ in range(2))
    value = loss(module, config, views)
    value.backward()
    assert value.isfinite()
    assert all(view.grad is not None and view.grad.isfinite().all() for view in views)


@pytest.mark.parametrize("factor", ["zca", "pca", "cholesky"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_observations_than_variables_are_whitened_to_something_finite(factor: Any, dtype: torch.dtype) -> None:
    rows = normal(4, 24, 12, dtype=dtype)
    rows = (rows - rows.mean(-1, keepdim=True)).requires_grad_()
    out = whiten(rows, 11, factor)
    (out * normal(4, 24, 12, seed=1, dtype=dtype)).sum().backward()
    assert out.isfinite().all()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_a_ridge_is_laid_only_on_the_matrix_that_needs_it() -> None:
    good = normal(5, 9)
    sigma = torch.stack([good @ good.T, torch.ones(5, 5, dtype=torch.float64)])
    root = triangular_root(sigma)
    assert torch.equal(root[0], torch.linalg.cholesky(sigma[0]))
    torch.testing.assert_close(root[1] @ root[1].T, sigma[1], rtol=0, atol=1e-12)
    with pytest.raises(torch.linalg.LinAlgError):
        triangular_root(torch.full((2, 2), float("nan")))


def test_rotated_root_has_the_gradient_autograd_would_have() -> None:
    x, weights = normal(2, 6, 9), normal(2, 6, 6, seed=1)
    sigma = (x @ x.mT / 9).requires_grad_()
    values, vectors = torch.linalg.eigh(sigma)
    (expected,) = torch.autograd.grad((vectors.mT / values.sqrt().unsqueeze(-1) * weights).sum(), sigma)
    (ours,) = torch.autograd.grad((rotated_root(sigma) * weights).sum(), sigma)
    torch.testing.assert_close(ours, (expected + expected.mT) / 2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [1.0, 1.0, 3.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
def test_rotated_root_stays_finite_on_equal_and_zero_eigenvalues(values: list[float]) -> None:
    sigma = torch.diag(torch.tensor(values)).requires_grad_()
    (rotated_root(sigma) * normal(3, 3, dtype=torch.float32)).sum().backward()
    assert sigma.grad is not None
    assert sigma.grad.isfinite().all()


SMALL = {
    "cwrgp": (cwrgp, cwrgp.Config(w_size=4, groups=2, w_iter=2), (8, 12)),
    "wmse": (wmse, wmse.Config(w_size=6), (12, 3)),
    "zca": (zca, zca.Config(w_size=6), (12, 3)),
    "pca": (pca, pca.Config(w_size=6), (12, 3)),
    "dbn": (dbn, dbn.Config(groups=3, shuffled=True), (8, 6)),
}
"""Several sub-batches and groups, in so few numbers that each can be moved by itself."""


@pytest.mark.parametrize("name", list(SMALL))
def test_gradcheck_of_local_losses(name: str) -> None:
    module, config, shape = SMALL[name]
    views = tuple(normal(*shape, seed=i).requires_grad_() for i in range(2))
    assert gradcheck(lambda *v: loss(module, config, v), views)


@pytest.mark.parametrize("module", [barlow_twins, vicreg])
@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_gradcheck_of_gathered_losses(module: Any, shape: tuple[int, int]) -> None:
    views = tuple((normal(*shape, seed=i) * 0.7 + 1).requires_grad_() for i in range(2))
    assert gradcheck(lambda *v: loss(module, module.Config(), v), views)


@pytest.mark.parametrize("factor", ["zca", "pca", "cholesky"])
def test_gradcheck_of_whitening_with_a_share_of_the_identity(factor: Any) -> None:
    rows = normal(2, 4, 7).requires_grad_()
    assert gradcheck(lambda x: whiten(x - x.mean(-1, keepdim=True), 6, factor, 0.1), rows)


def test_reordering_is_undone_and_has_its_gradient() -> None:
    x, order = normal(7, 3).requires_grad_(), torch.randperm(7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(reordered(x, order), x[order])
    assert torch.equal(reordered(reordered(x, order), inverse(order)), x)
    assert gradcheck(lambda z: reordered(z, order), x)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("normalized", [True, False])
def test_the_mean_over_pairs_is_the_mean_over_pairs(count: int, normalized: bool) -> None:
    views = [normal(5, 7, seed=i).requires_grad_() for i in range(count)]
    distance: Callable[[Tensor, Tensor], Tensor] = (
        normalized_mse if normalized else lambda a, b: (a - b).square().mean()
    )
    expected = sum(distance(a, b) for a, b in combinations(views, 2)) / (count * (count - 1) / 2)
    assert mean_over_pairs(views, normalized).item() == pytest.approx(
        float(torch.as_tensor(expected).detach()), rel=1e-12
    )
    assert gradcheck(lambda *v: mean_over_pairs(v, normalized), views)


@pytest.mark.parametrize("module", [cwrgp, wmse])
def test_plain_distances_are_mean_squared_differences(module: Any) -> None:
    """Of one sub-batch in one group, where no draw matters to ZCA; W-MSE by hand too."""
    settings = {"w_size": 8, "normalised": False} | ({"groups": 1} if module is cwrgp else {})
    views = [normal(8, 20 if module is cwrgp else 4, seed=i).numpy() for i in range(2)]
    whitened = []
    for z in views:
        x = (z - z.mean(1, keepdims=True)) if module is cwrgp else (z - z.mean(0)).T
        sigma = np.cov(x)
        values, vectors = np.linalg.eigh(sigma)
        root = (
            vectors @ np.diag(values**-0.5) @ vectors.T if module is cwrgp else np.linalg.inv(np.linalg.cholesky(sigma))
        )
        whitened.append(root @ x)
    value = loss(module, module.Config(**settings), tuple(map(torch.from_numpy, views)))
    assert value.item() == pytest.approx(((whitened[0] - whitened[1]) ** 2).mean(), rel=1e-9)


def test_cwrgps_vicreg_weighs_the_variance_twice() -> None:
    views = tuple(0.3 * normal(12, 5, seed=i) for i in range(2))
    ours, theirs = (loss(vicreg, vicreg.Config(variant=v), views).item() for v in ("official", "cwrgp"))
    spread = [np.maximum(1 - np.sqrt(z.numpy().var(0, ddof=1) + 1e-4), 0).mean() for z in views]
    assert theirs - ours == pytest.approx(25 * sum(spread) / 2, rel=1e-9)


def float32_error(module: Any, config: Any, views: list[Tensor]) -> float:
    """How far the float32 gradient is from that in float64, as a share of its norm."""

    def gradients(dtype: torch.dtype) -> Tensor:
        inputs = tuple(z.to(dtype).requires_grad_() for z in views)
        return torch.cat(torch.autograd.grad(loss(module, config, inputs), inputs))

    exact = gradients(torch.float64)
    return float((gradients(torch.float32) - exact).norm() / exact.norm())


@pytest.mark.parametrize(
    ("module", "config", "shape", "tolerance"),
    [
        (cwrgp, cwrgp.Config(), (128, 512), 2e-4),
        (barlow_twins, barlow_twins.Config(), (128, 512), 1e-5),
        (barlow_twins, barlow_twins.Config(), (512, 128), 1e-5),
        (vicreg, vicreg.Config(), (128, 512), 1e-5),
        (vicreg, vicreg.Config(), (512, 128), 1e-5),
    ],
)
def test_float32_gradients_are_those_of_float64(
    module: Any, config: Any, shape: tuple[int, int], tolerance: float
) -> None:
    image = normal(*shape)
    views = [(image + 0.5 * normal(*shape, seed=i)).float() for i in (1, 2)]
    assert float32_error(module, config, views) <= tolerance


@pytest.mark.parametrize(("condition", "tolerance"), [(1e2, 5e-5), (1e4, 3e-3), (1e6, 5e-5), (1e8, 5e-4)])
def test_float32_gradients_of_nearly_dependent_samples_are_those_of_float64(condition: float, tolerance: float) -> None:
    """Of a condition of 1e4 float32 still resolves the smallest eigenvalue, and loses the most; then float64 begins."""
    turned = torch.linalg.qr(normal(64, 64)).Q * torch.logspace(0, -np.log10(condition) / 2, 64, dtype=torch.float64)
    image = normal(64, 512)
    views = [(turned @ (image + 0.5 * normal(64, 512, seed=i))).float() for i in (1, 2)]
    assert float32_error(cwrgp, cwrgp.Config(), views) <= tolerance


def uneven_rows() -> Tensor:
    """Two clouds of 64 samples in 8 dimensions whose standard deviations fall from 1 to 1e-6."""
    generator = torch.Generator().manual_seed(5)
    turned = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0] @ torch.diag(torch.logspace(0, -6, 8))
    rows = torch.randn(2, 8, 64, generator=generator)
    rows = turned @ (rows - rows.mean(-1, keepdim=True))
    return rows - rows.mean(-1, keepdim=True)


def assert_white(out: Tensor) -> None:
    variances = torch.linalg.eigvalsh(out.detach().double() @ out.detach().double().mT / 63)
    assert out.dtype == torch.float32
    torch.testing.assert_close(variances, torch.ones_like(variances), rtol=0, atol=1e-2)


@pytest.mark.parametrize("factor", ["zca", "pca", "cholesky"])
def test_no_direction_escapes_whitening_by_making_another_one_large(factor: Factor) -> None:
    rows = uneven_rows().requires_grad_()
    out = whiten(rows, 63, factor)
    assert_white(out)
    out.square().sum().backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_no_direction_escapes_a_spectral_transformation() -> None:
    config = st.Config(transform="whitening", covariance_between="channels")
    for rows in uneven_rows():
        assert_white(st.transformed(rows.T, config).T)
