"""Queries and rows as a scan multiplies them, and what is lost by that."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

Scan = Literal["faiss", "torch", "torch_bf16"]

PADDING = 16
"""Products in bfloat16 are fast if the length of rows is a multiple of this."""


@dataclass(frozen=True)
class Asked:
    """Queries as a scan takes them: `coded` holds them rounded, beside what meets the biases in a product.

    `guesses` is what the product takes off every level.
    """

    moved: Float32[Tensor, "m d"]
    coded: Float[Tensor, "m e"]
    guesses: Float32[Tensor, "m"]

    def guessing(self, guesses: Float32[Tensor, "m"]) -> "Asked":
        """The same queries, with other guesses."""
        rounded = self.coded.clone()
        rounded[:, -3:] = -parts(guesses)
        return Asked(self.moved, rounded, guesses)


@dataclass
class Lost:
    """What a bank loses by rounding: its longest row, its largest bias, and the longest error of a row."""

    row: float = 0.0
    bias: float = 0.0
    error: float = 0.0

    def cover(self, rows: Float32[Tensor, "n d"], biases: Float32[Tensor, "n"], tile: Float[Tensor, "n e"]) -> None:
        """Take in more rows, which `tile` holds as the scan takes them."""
        self.row = max(self.row, _longest(rows))
        self.bias = max(self.bias, float(biases.abs().max()))
        if tile.dtype != rows.dtype:
            self.error = max(self.error, _longest(rows - tile[:, : rows.shape[1]]))

    def errors(self, asked: Asked, unit: float) -> Float64[np.ndarray, "m"]:
        """How far a query's computed levels can be from the true ones, besides the rounding of a bfloat16 result.

        With ~ for rounded, q·b differs from q~·b~ by at most |q~||b~ - b| + |q~ - q||b|: the lengths of what was
        really lost, which is less than the 2^-8 of every number that bfloat16 allows. Sums are made in float32, in
        any order, and with them go the roundings of moving both to the space, relative to `unit`.
        """
        d = asked.moved.shape[1]
        rounded = asked.coded[:, :d].float()
        length, error = (torch.linalg.vector_norm(x, dim=1).double() for x in (rounded, asked.moved - rounded))
        summed = length * (self.row + self.error) + self.bias + asked.guesses.double().abs() + unit
        slack = length * self.error + error * self.row + (2 * d + 64) * 2.0**-24 * summed + 1e-30
        return slack.cpu().numpy()


def asked(moved: Float32[Tensor, "m d"], scan: Scan) -> Asked:
    """Queries as the scan takes them, with guesses of 0."""
    nothing = moved.new_zeros(len(moved))
    if scan != "torch_bf16":
        return Asked(moved, torch.cat([moved, nothing[:, None] + 1], 1), nothing)
    rounded = moved.new_zeros((len(moved), _padded(moved.shape[1])), dtype=torch.bfloat16)
    rounded[:, : moved.shape[1]] = moved
    rounded[:, -6:-3] = 1
    return Asked(moved, rounded, nothing)


def coded(rows: Float32[Tensor, "n d"], biases: Float32[Tensor, "n"], scan: Scan) -> Float[Tensor, "n e"]:
    """Rows with their biases, so that the product with a coded query is the level less the query's guess."""
    if scan != "torch_bf16":
        return torch.cat([rows, biases[:, None]], 1)
    rounded = rows.new_zeros((len(rows), _padded(rows.shape[1])), dtype=torch.bfloat16)
    rounded[:, : rows.shape[1]] = rows
    rounded[:, -6:-3] = parts(biases)
    rounded[:, -3:] = 1
    return rounded


def _padded(columns: int) -> int:
    return -(-(columns + 6) // PADDING) * PADDING


def parts(values: Float32[Tensor, "n"]) -> Float[Tensor, "n 3"]:
    """Three bfloat16 numbers each, which add up to the values within 2^-24 of them."""
    terms, rest = [], values
    for _ in range(3):
        terms.append(rest.bfloat16())
        rest = rest - terms[-1].float()
    return torch.stack(terms, 1)


def _longest(rows: Float[Tensor, "n d"]) -> float:
    return float(torch.linalg.vector_norm(rows, dim=1).max())
