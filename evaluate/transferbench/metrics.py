"""What is measured: hits of a classifier, precision of a ranking, ranks of a cloud of features. All in float64.

Sources of the ranks and of what goes with them: docs/protocols.md#spectrum.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from transferbench import renamed
from transferbench.errors import UserError

DIVERGED = (
    "the features may be too large for float32, as of weights that have diverged: `evaluate spectrum` says what they "
    "are like, an earlier checkpoint may be whole."
)
"""What is said where numbers made from features are none."""
Eigenvalues = Float64[np.ndarray, "r"]


def top_k_hits(scores: Float[np.ndarray, "n c"], labels: Int64[np.ndarray, "n"], k: int) -> Bool[np.ndarray, "n"]:
    """Whether the label is among the k classes of the highest scores; ties go to the smaller class.

    Raises:
        UserError: when a score is not finite.
    """
    require_finite(scores)
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(1) < k


def require_finite(scores: Float[np.ndarray, "..."]) -> None:
    """Refuse scores of a classifier that are not finite.

    Raises:
        UserError: saying what can lead to them.
    """
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise UserError(
            f"{bad} of {scores.size} scores of the classifier are not finite. Expected finite numbers: {DIVERGED} "
            "Where they have not, lower the learning rates."
        )


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion; never outside [0, 1] and never empty."""
    z = 1.959963984540054
    center = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return max(0.0, center - half), min(1.0, center + half)


def mean_per_class(hits: Bool[np.ndarray, "n"], labels: Int64[np.ndarray, "n"]) -> float:
    """The mean over the classes that occur of the share of hits in each."""
    counts = np.bincount(labels)
    return float((np.bincount(labels, hits)[counts > 0] / counts[counts > 0]).mean())


def average_precision(
    scores: Float[np.ndarray, "n"], relevant: Bool[np.ndarray, "n"], points: int | None = None
) -> float:
    """Precision over recall as the VOC development kit sums it up; ties keep the order of the samples.

    Args:
        scores: how surely each sample is of the class.
        relevant: whether it is; at least one must be.
        points: the mean of the interpolated precision at so many recalls from 0 to 1 (VOC2007: 11), as that kit has it;
            None gives the whole area below the interpolated curve (VOC2010 and later).

    Raises:
        ValueError: when no sample is relevant or a score is not finite.
    """
    if not relevant.any() or not np.isfinite(scores).all():
        raise ValueError("Average precision needs finite scores and a relevant sample.")
    hits = relevant[np.argsort(-scores, kind="stable")].cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    interpolated = np.maximum.accumulate(precision[::-1])[::-1]
    if points is None:
        return float(interpolated @ np.diff(hits, prepend=0) / hits[-1])
    needed = np.ceil(np.arange(points) * hits[-1] / (points - 1) - 1e-9)
    return float(interpolated[np.searchsorted(hits, needed)].mean())


def centered(features: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    """Features less their mean; exactly zero where all are equal, since float64 sums equal float32 numbers exactly."""
    double = features.astype(np.float64)
    return double - double.mean(0)


def eigenvalues(deviations: Float64[np.ndarray, "n d"]) -> Eigenvalues:
    """Eigenvalues of the unbiased covariance of centered features, largest first.

    Only the min(n - 1, d) that n centered samples can make non-zero: with fewer samples than dimensions, the others say
    nothing about the features.
    """
    n, d = deviations.shape
    gram = deviations @ deviations.T if n < d else deviations.T @ deviations
    values = np.linalg.eigvalsh(gram)[::-1] / max(1, n - 1)
    return values[: min(n - 1, d)].clip(min=0)


def rankme(values: Eigenvalues) -> float:
    """exp of the entropy of q = s / sum(s) + 1e-7 over the singular values s; 0 for constant features."""
    singular = np.sqrt(values)
    if not singular.any():
        return 0.0
    q = singular / singular.sum() + 1e-7
    return float(np.exp(-(q * np.log(q)).sum()))


def effective_rank(values: Eigenvalues) -> float:
    """exp of the entropy of the eigenvalues' shares; 0 for constant features."""
    shares = values[values > 0] / values.sum() if values.any() else np.zeros(0)
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def stable_rank(values: Eigenvalues) -> float:
    """Sum of the eigenvalues over the largest; 0 for constant features."""
    return float(values.sum() / values[0]) if values.any() else 0.0


def participation_ratio(values: Eigenvalues) -> float:
    """Squared sum of the eigenvalues over the sum of their squares; 0 for constant features."""
    return float((values.sum() / values[0]) ** 2 / ((values / values[0]) ** 2).sum()) if values.any() else 0.0


def numerical_rank(values: Eigenvalues, tolerance: float) -> int:
    """How many eigenvalues exceed `tolerance` times the largest; 0 for constant features."""
    return int((values > tolerance * values[0]).sum()) if values.any() else 0


def power_law(values: Eigenvalues, tolerance: float) -> float:
    """α of λ_i = c / i^α, fitted to the logarithms of the eigenvalues above `tolerance` times the largest.

    0 where fewer than two are; the larger, the fewer directions matter.
    """
    kept = values[: numerical_rank(values, tolerance)]
    if len(kept) < 2:
        return 0.0
    place = np.log(np.arange(1, len(kept) + 1))
    place -= place.mean()
    return float(-(place @ np.log(kept / kept[0])) / (place @ place))


def log_condition(values: Eigenvalues, floor: float) -> float:
    """log10 of the largest over the smallest eigenvalue, the latter at least `floor` times the former.

    Constant features get the worst value, -log10(floor).
    """
    smallest = max(values[-1] / values[0], floor) if values.any() else floor
    return -math.log10(smallest)


def mean_absolute_correlation(deviations: Float64[np.ndarray, "n d"]) -> float:
    """Mean |Pearson correlation| over pairs of different dimensions.

    Dimensions without variance have no correlation and are left out; 0 when fewer than two are left.
    """
    norms = np.sqrt((deviations**2).sum(0))
    unit = deviations[:, norms > 0] / norms[norms > 0]
    d = unit.shape[1]
    total = sum(float(np.abs(unit[:, start : start + 1024].T @ unit).sum()) for start in range(0, d, 1024))
    return (total - d) / (d * (d - 1)) if d > 1 else 0.0


def standard_deviations(deviations: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "d"]:
    """The unbiased standard deviation of each dimension of centered features."""
    return np.sqrt((deviations**2).sum(0) / max(1, len(deviations) - 1))


def uniformity(features: Float32[np.ndarray, "n d"]) -> float:
    """log of the mean of exp(-2 distance^2) over pairs of different samples of length 1: 0 at a point, lower is wider.

    Wang and Isola's measure (Hua et al.'s code has another by that name). Samples that are zero stay there.
    """
    unit = _unit(features)
    n, squares = len(unit), (unit**2).sum(1)
    total = 0.0
    for start in range(0, n, 1024):
        part = slice(start, start + 1024)
        distances = squares[part, None] + squares - 2 * unit[part] @ unit.T
        total += float(np.exp(-2 * np.maximum(distances, 0)).sum())
    return math.log(max(total - n, np.finfo(np.float64).tiny) / (n * (n - 1))) if n > 1 else 0.0


def class_alignment(features: Float32[np.ndarray, "n d"], labels: Int64[np.ndarray, "n"]) -> float:
    """Mean squared distance of samples of length 1 to others of their class: 0 where classes are points.

    Alignment with images of a class for the two views; 0 where no class has two samples.
    """
    unit = _unit(features)
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), unit.shape[1]))
    np.add.at(sums, labels, unit)
    lengths = np.bincount(labels, (unit**2).sum(1), len(counts))
    pairs = (counts * (counts - 1)).sum()
    return float(2 * (counts * lengths - (sums**2).sum(1)).sum() / pairs) if pairs else 0.0


def _unit(features: Float32[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    """Each sample over its length, in float64; zeros stay zeros."""
    double = features.astype(np.float64)
    norms = np.sqrt((double**2).sum(1, keepdims=True))
    return np.divide(double, norms, out=np.zeros_like(double), where=norms > 0)


def mean_cosine(features: Float32[np.ndarray, "n d"]) -> float:
    """Mean cosine between different samples: 1 where all point the same way.

    Samples that are zero point nowhere: their cosine with a sample is 1 if that is zero too, else 0.
    """
    double = features.astype(np.float64)
    norms = np.sqrt((double**2).sum(1))
    unit = double[norms > 0] / norms[norms > 0, None]
    n, zeros = len(features), len(features) - len(unit)
    total = (unit.sum(0) ** 2).sum() - len(unit) + zeros * (zeros - 1)
    return float(total / (n * (n - 1))) if n > 1 else 1.0


__getattr__ = renamed.names_of(__name__)
