"""Both metrics as one question: which rows have the highest `query · row + bias(row)`?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Float64
from torch import Tensor

Metric = Literal["cosine", "euclidean"]
Matrix = Float[np.ndarray, "_ _"]

SAMPLE = 4096
"""How many rows of a bank its center and the level of its near neighbors are estimated from."""

MOST = 100
"""Rows are scaled up by at most so many powers of two: float32 holds them and their squares."""


@dataclass(frozen=True)
class Space:
    """Rows and queries moved so that `query · row + bias(row)`, the *level*, orders rows as the metric does.

    Both are taken relative to `center`, whatever it is: cos(q, b) = (q̂ - c) · (b̂ - c) + c · b̂ + c · q̂ - c · c, and
    -|q - b|² / 2 = (q - c) · (b - c) - |b - c|² / 2 - |q - c|² / 2, where the terms without b order nothing. Near the
    center the products are small, and so is what rounding does to them. `scale` keeps squares in float32's range.
    """

    metric: Metric
    center: Float32[np.ndarray, "d"]
    scale: float

    @classmethod
    def around(cls, bank: Matrix, metric: Metric) -> "Space":
        """The space centered on the bank, by a sample of its rows."""
        rows = sample(bank).astype(np.float64)
        if metric == "cosine":
            lengths = np.sqrt((rows**2).sum(1, keepdims=True))
            rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
        center = rows.mean(0).astype(np.float32)
        spread = np.sqrt(((rows - center) ** 2).sum(1)).max()
        if metric == "cosine" or spread == 0:
            return cls(metric, center, 1.0)
        return cls(metric, center, 2.0 ** min(MOST, -np.round(np.log2(spread))))

    @property
    def unit(self) -> float:
        """The length that rounding errors of moving a vector are relative to, besides its own."""
        return 1.0 if self.metric == "cosine" else 0.0

    def rows(self, rows: Matrix, device: torch.device) -> tuple[Float32[Tensor, "n d"], Float32[Tensor, "n"]]:
        """Rows of the bank as this space has them, and their biases."""
        moved, directions = self._moved(rows, device)
        if self.metric == "euclidean":
            return moved, torch.linalg.vector_norm(moved, dim=1).square_().mul_(-0.5)
        return moved, directions @ torch.from_numpy(self.center).to(device)

    def queries(self, queries: Matrix, device: torch.device) -> Float32[Tensor, "m d"]:
        """Queries as this space has them."""
        return self._moved(queries, device)[0]

    def levels(self, scores: Float64[np.ndarray, "m"], queries: Matrix) -> Float64[np.ndarray, "m"]:
        """Exact scores (cosine, or minus the squared distance), one of each query, as levels."""
        exact, center = queries.astype(np.float64), self.center.astype(np.float64)
        if self.metric == "euclidean":
            return (((exact - center) ** 2).sum(1) + scores) * self.scale**2 / 2
        lengths = np.sqrt((exact**2).sum(1))
        shares = np.divide(exact @ center, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return scores - shares + center @ center

    def _moved(self, rows: Matrix, device: torch.device) -> tuple[Float32[Tensor, "n d"], Float32[Tensor, "n d"]]:
        """Rows relative to the center, and before that: as they are, or for the cosine of length 1 (zeros stay)."""
        moved, center = torch.tensor(rows, dtype=torch.float32, device=device), torch.from_numpy(self.center).to(device)
        if self.metric == "euclidean":
            return (moved - center).mul_(self.scale), moved
        lengths = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
        odd = ~((lengths > 1e-15) & (lengths < 1e15))[:, 0]
        if odd.any():  # Zeros, and rows whose squares leave float32's range.
            exact = moved[odd].double()
            moved[odd], lengths[odd] = F.normalize(exact, dim=1, eps=1e-300).float(), 1.0
        moved.div_(lengths)
        return moved - center, moved


def sample(bank: Matrix) -> Matrix:
    """At most SAMPLE rows, spread evenly over the bank."""
    return np.asarray(bank[:: max(1, len(bank) // SAMPLE)][:SAMPLE])
