"""Four Newton steps to the inverse root; the formula is `decorssl.whiten.newton_steps`."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.runtime.autograd import applied


def four_steps(s: Float[Tensor, "v v"]) -> Float[Tensor, "v v"]:
    """P_4 of a symmetric S, where P_0 = I and P_(k+1) = 1.5 P_k - 0.5 P_k^3 S."""
    return applied(_FourSteps, s)


class _FourSteps(torch.autograd.Function):
    """P_4 of a symmetric S in 7 matrix products, its derivative in 11 (autograd takes 12 and 19).

    Two steps from the identity are g(Z) = 1.5 M - 0.5 M^2 H with M = 1.5 I - 0.5 Z and H = Z M, where M^2 = 1.5 M -
    0.5 H, so P_2 = g(S) and P_4 = P_2 g(S P_2^2). H is formed from Z, never from M: eigenvalues of Z are of the order
    1 / variables, and against the identity in M float32 would round their last digits away. The derivative of a
    polynomial of a symmetric matrix is self-adjoint: the gradient is the derivative in the direction of the symmetrized
    incoming gradient (docs/methods.md#newton-iterations).
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor) -> Tensor:
        p2, h, m2 = _two_steps(s)
        square = p2 @ p2
        z = s @ square
        g, k, n2 = _two_steps(z)
        ctx.save_for_backward(s, p2, h, m2, square, z, g, k, n2)
        return p2 @ g

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        s, p2, h, m2, square, z, g, k, n2 = ctx.saved_tensors
        direction = (gradients[0] + gradients[0].T) / 2
        dp2 = _two_steps_derivative(direction, s, h, m2)
        half = p2 @ dp2
        dg = _two_steps_derivative(torch.addmm(direction @ square, s, half + half.T), z, k, n2)
        return torch.addmm(dp2 @ g, p2, dg)


def _two_steps(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(g(Z), H, M^2)."""
    m = -0.5 * z
    m.diagonal().add_(1.5)
    h = torch.addmm(z, z, z, beta=1.5, alpha=-0.5)
    m2 = (1.5 * m).sub_(h, alpha=0.5)
    return torch.addmm(m, m2, h, beta=1.5, alpha=-0.5), h, m2


def _two_steps_derivative(dz: Tensor, z: Tensor, h: Tensor, m2: Tensor) -> Tensor:
    """The derivative of g in the direction dZ."""
    half = z @ dz
    dh = (1.5 * dz).sub_(half, alpha=0.5).sub_(half.T, alpha=0.5)
    direct = -0.75 * dz
    dm2 = direct.sub(dh, alpha=0.5)
    return direct.addmm_(dm2, h, alpha=-0.5).addmm_(m2, dh, alpha=-0.5)
