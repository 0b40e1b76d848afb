"""What features are standardized by: mean and deviation over rows that come a part after another."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

CHUNK = 2**22
"""How many numbers are read and written together."""


@dataclass
class Moments:
    """Number, mean and summed squared deviation of rows seen so far, in float64 (Chan, Golub and LeVeque 1983)."""

    count: int
    mean: Float64[np.ndarray, "d"]
    squares: Float64[np.ndarray, "d"]

    @classmethod
    def of(cls, rows: Float32[np.ndarray, "n d"]) -> "Moments":
        """Those of some rows."""
        exact = rows.astype(np.float64)
        mean = exact.mean(0) if len(rows) else np.zeros(rows.shape[1])
        return cls(len(rows), mean, ((exact - mean) ** 2).sum(0))

    def add(self, other: "Moments") -> None:
        """Take in those of more rows."""
        total = max(1, self.count + other.count)
        apart = other.mean - self.mean
        self.squares += other.squares + apart**2 * (self.count * other.count / total)
        self.mean += apart * (other.count / total)
        self.count += other.count


@dataclass(frozen=True)
class Scale:
    """What features are standardized by; a feature that does not vary is left undivided, as in scikit-learn."""

    mean: Float64[np.ndarray, "d"]
    deviation: Float64[np.ndarray, "d"]

    @classmethod
    def over(cls, seen: Moments) -> "Scale":
        """The scale of these moments."""
        n, eps = seen.count, np.finfo(np.float64).eps
        variance = seen.squares / n
        constant = variance <= n * eps * variance + (n * seen.mean * eps) ** 2
        return cls(seen.mean, np.where(constant, 1.0, np.sqrt(variance)))

    def apply(self, rows: Float32[np.ndarray, "n d"]) -> None:
        """Standardize rows in place."""
        step = max(1, CHUNK // rows.shape[1])
        for start in range(0, len(rows), step):
            rows[start : start + step] = (rows[start : start + step] - self.mean) / self.deviation
