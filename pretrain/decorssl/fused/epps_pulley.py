"""The Epps-Pulley statistic along many directions; the formula is `decorssl.methods.lejepa.sigreg`."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from transferbench.runtime.autograd import applied

Gather = Callable[[Tensor], Tensor]
"""Rows of all processes, as a method's context has it."""


def mean_statistic(
    samples: Float[Tensor, "v n d"],
    directions: Iterable[Float[Tensor, "_ d"]],
    knots: int,
    max_frequency: float,
    gather: Gather,
) -> Float[Tensor, ""]:
    """The mean over samples (views) and directions of the statistic of all processes' rows.

    Args:
        samples: this process's rows.
        directions: unit rows in chunks, the same on every process.
        knots: how many frequencies from 0 to the highest, the ends included.
        max_frequency: the highest.
        gather: concatenates rows over processes.
    """
    return applied(_EppsPulley, samples, directions, knots, max_frequency, gather)


def powers_mean(turn: Complex[Tensor, "v n k"], count: int) -> Complex[Tensor, "t v k"]:
    """Means over rows of the first `count` powers of unit complex numbers."""
    power = turn.clone()
    means = [power.mean(1)]
    for _ in range(count - 1):
        means.append(power.mul_(turn).mean(1))
    return torch.stack(means)


def polynomial(coefficients: Complex[Tensor, "t v k"], turn: Complex[Tensor, "v n k"]) -> Complex[Tensor, "v n k"]:
    """sum_j coefficients_j turn^j, j from 1, by Horner's rule."""
    *lower, highest = coefficients.unsqueeze(2)
    result = turn * highest
    for each in reversed(lower):
        result.add_(each).mul_(turn)
    return result


class _EppsPulley(torch.autograd.Function):
    """The gradient is summed up along with the value, a chunk of directions at a time.

    Frequencies are multiples of the first, so that their waves are powers of one complex number for each row and
    direction; the slope along a direction is a polynomial in it. Powers err less in float32 than the recurrence of
    cosines, which loses digits at small angles.
    """

    @staticmethod
    def forward(
        ctx: Any,
        samples: Tensor,
        directions: Iterable[Tensor],
        knots: int,
        max_frequency: float,
        gather: Gather,
    ) -> Tensor:
        v, n, d = samples.shape
        spacing = max_frequency / (knots - 1)
        frequencies = spacing * torch.arange(1, knots, device=samples.device, dtype=samples.dtype).view(-1, 1, 1)
        target = torch.exp(-frequencies.square() / 2)
        weights = 2 * spacing * target
        weights[-1] /= 2

        rows = samples.reshape(-1, d)
        gradient, total, count, processes = torch.zeros_like(rows), samples.new_zeros(()), 0, 1
        for chunk in directions:
            angles = (rows @ chunk.T).mul_(spacing).view(v, n, -1)
            turn = torch.complex(angles.cos(), angles.sin())
            means = gather(torch.view_as_real(powers_mean(turn, knots - 1)).unsqueeze(0))
            processes, count = len(means), count + len(chunk)
            excess = torch.view_as_complex(means.mean(0)) - target
            total += (weights * torch.view_as_real(excess).square().sum(-1)).sum()
            if ctx.needs_input_grad[0]:
                slope = polynomial(2j * weights * frequencies * excess.conj(), turn).real
                gradient.addmm_(slope.reshape(-1, len(chunk)), chunk)
        # Processes average their gradients, so each gives its rows' share of the whole times their number.
        ctx.save_for_backward(gradient.mul_(processes / (v * count)).view_as(samples))
        return total * (n * processes / (v * count))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * gradients[0], None, None, None, None)
