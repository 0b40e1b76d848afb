"""Functions of symmetric matrices: values, closed-form gradients, equal eigenvalues."""

import pytest
import torch
from torch import Tensor

from decorssl.matrix_functions import Scalar, matrix_function, newton, power
from decorssl.spectral import inverse_root
from decorssl.whiten import newton_inverse_root

FUNCTIONS = {"p=0.5": power(0.5), "p=0.3": power(0.3), "p=1": power(1.0), "T=1": newton(1), "T=4": newton(4)}
EQUAL = [[2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0], [0.5, 1.0, 1.0, 3.0]]


def turned(values: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    """A symmetric matrix with these eigenvalues."""
    shape = (len(values), len(values))
    q = torch.linalg.qr(torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0)))[0]
    return q * torch.tensor(values, dtype=dtype) @ q.T


def literal(sigma: Tensor, g: Scalar) -> Tensor:
    """The sum of g(lambda) u u^T."""
    values, vectors = torch.linalg.eigh(sigma)
    out = torch.zeros_like(sigma)
    for value, u in zip(values, vectors.T, strict=True):
        out += g.value(value) * torch.outer(u, u)
    return out


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_is_the_sum_over_eigenvectors(name: str) -> None:
    sigma = turned([0.1, 0.4, 1.0, 2.0])
    torch.testing.assert_close(matrix_function(sigma, FUNCTIONS[name]), literal(sigma, FUNCTIONS[name]))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("values", [[0.1, 0.4, 1.0, 2.0], *EQUAL])
def test_gradient_is_that_of_finite_differences(name: str, values: list[float]) -> None:
    sigma = turned(values).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: matrix_function((s + s.mT) / 2, FUNCTIONS[name]), sigma)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("gap", [1.0, 1e-3, 1e-7, 1e-12, 0.0])
def test_quotients_lose_nothing_to_cancellation(name: str, gap: float) -> None:
    g = FUNCTIONS[name]
    a = torch.tensor([1e-3, 0.1, 0.7], dtype=torch.float64)
    b = a * (1 + gap)
    middle = ((a + b) / 2).requires_grad_()
    (slope,) = torch.autograd.grad(g.value(middle).sum(), middle)
    expected = (g.value(a) - g.value(b)) / (a - b) if gap >= 1e-3 else slope
    torch.testing.assert_close(g.quotient(a, b), expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(g.quotient(b, a), g.quotient(a, b), rtol=1e-12, atol=0)


@pytest.mark.parametrize("values", [*EQUAL, [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_equal_and_zero_eigenvalues_leave_values_and_gradients_finite(name: str, values: list[float]) -> None:
    sigma = turned(values, torch.float32).requires_grad_()
    out = matrix_function(sigma, FUNCTIONS[name])
    out.sum().backward()
    assert out.isfinite().all()
    assert sigma.grad is not None
    assert sigma.grad.isfinite().all()


def test_a_stack_of_matrices_is_taken_one_by_one() -> None:
    stack = torch.stack([turned(values) for values in EQUAL])
    out = matrix_function(stack, power(0.5))
    for one, sigma in zip(out, stack, strict=True):
        torch.testing.assert_close(one, matrix_function(sigma, power(0.5)))


def test_whitening_and_iternorm_are_instances() -> None:
    sigma = turned([0.1, 0.4, 1.0, 2.0])
    torch.testing.assert_close(matrix_function(sigma, power(0.5)), inverse_root(sigma))
    trace = sigma.trace()
    for steps in (1, 4, 7):
        ours = matrix_function(sigma / trace, newton(steps)) / trace.sqrt()
        torch.testing.assert_close(ours, newton_inverse_root(sigma, steps))
