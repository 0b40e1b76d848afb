"""Uncertainty of a number: seeded bootstrap over test samples, and two classifiers compared on the same samples.

Drawing n samples with replacement and counting those of each kind is one multinomial draw over the kinds, so the
bootstrap of anything that depends on counts alone needs no pass over the samples and is exact. Which interval is of
what: docs/protocols.md#intervals.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

DRAWS = 2000
SEED = 0
AT_ONCE = 2**22
"""How many counts may be drawn together."""

Hits = Bool[np.ndarray, "n"]
Labels = Int64[np.ndarray, "n"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """A second classifier against a first on the same n samples; shares from 0 to 1.

    Attributes:
        difference: second less first.
        interval: its 95 % paired bootstrap interval.
        only_first: on how many samples the first alone is right.
        only_second: on how many the second alone is.
        p_value: of McNemar's exact test that neither is right alone more often.
    """

    difference: float
    interval: Interval
    only_first: int
    only_second: int
    p_value: float
    n: int


def bootstrap(hits: Hits, labels: Labels | None = None) -> Interval:
    """The 95 % percentile interval of the mean of hits or, given labels, of the mean over classes of their means."""
    groups = np.zeros(len(hits), np.int64) if labels is None else labels
    return _percentiles(_resampled(hits.astype(np.int64), groups, np.array([0.0, 1.0])))


def resampled(statistic: Callable[[Int64[np.ndarray, "n"]], float], n: int, draws: int = 200) -> Interval:
    """The 95 % percentile interval of any statistic of n samples, given the positions that were drawn."""
    rng = np.random.default_rng(SEED)
    return _percentiles(np.array([statistic(rng.integers(0, n, n)) for _ in range(draws)]))


def of_sums(
    rows: Float64[np.ndarray, "n k"],
    statistic: Callable[[Float64[np.ndarray, "draws k"]], Float64[np.ndarray, "draws m"]],
) -> list[Interval]:
    """The 95 % percentile interval of each of m statistics of the summed rows of n samples.

    Args:
        rows: what each sample adds to the sums.
        statistic: from the sums of many draws, each of n samples with replacement, to its values.
    """
    n, rng = len(rows), np.random.default_rng(SEED)
    at_once = max(1, AT_ONCE // max(rows.shape))
    sizes = [min(at_once, DRAWS - start) for start in range(0, DRAWS, at_once)]
    even = np.full(n, 1 / n)
    drawn = [statistic(rng.multinomial(n, even, size).astype(np.float64) @ rows) for size in sizes]
    return [_percentiles(values) for values in np.concatenate(drawn).T]


def compare(first: Hits, second: Hits, labels: Labels | None = None) -> Comparison:
    """Two classifiers on the same samples: accuracies or, given labels, mean accuracies per class."""
    groups = np.zeros(len(first), np.int64) if labels is None else labels
    kinds = 2 * second.astype(np.int64) + first
    values = np.array([0.0, -1.0, 1.0, 0.0])
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return Comparison(
        difference=float(_means(_counts(kinds, groups, 4)[None], values)[0]),
        interval=_percentiles(_resampled(kinds, groups, values)),
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
        n=len(first),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided exact p-value: as far from even, or farther, among so many fair coin tosses; 1 without any."""
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    ways, tail = 1, 0
    for i in range(fewer + 1):
        tail += ways
        ways = ways * (tosses - i) // (i + 1)
    return min(1.0, 2 * tail / 2**tosses)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: each at or below α keeps the chance of any false alarm at or below α.

    The i-th smallest of m (from 0) is multiplied by m - i, and none is below one that was smaller.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = least
    return corrected


def over_seeds(first: Sequence[float], second: Sequence[float], paired: bool) -> tuple[Interval, float] | None:
    """The 95 % interval of the mean difference, second less first, over seeds, and the p-value of Student's t test.

    Args:
        first: one value a seed.
        second: the same; in the same order of seeds when paired.
        paired: test the differences of equal seeds; otherwise Welch's test of two independent samples.

    Returns:
        None where the seeds do not spread or a side has one alone, so that there is nothing to judge a difference by.
    """
    from scipy import stats

    differences = [b - a for a, b in zip(first, second, strict=True)] if paired else []
    spreads = np.ptp(differences) > 0 if paired else np.ptp(first) + np.ptp(second) > 0
    if min(len(first), len(second)) < 2 or not spreads:
        return None
    test: Any = stats.ttest_rel(second, first) if paired else stats.ttest_ind(second, first, equal_var=False)
    low, high = test.confidence_interval(0.95)
    return (float(low), float(high)), float(test.pvalue)


def _counts(kinds: Int64[np.ndarray, "n"], groups: Labels, count: int) -> Int64[np.ndarray, "g k"]:
    """How many samples of each kind each group that has any has."""
    table = np.bincount(groups * count + kinds, minlength=(int(groups.max()) + 1) * count).reshape(-1, count)
    return table[table.sum(1) > 0]


def _means(counts: Int64[np.ndarray, "draws g k"], values: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "draws"]:
    """The mean over groups of the mean value in each; a group that a draw left empty is left out of that draw."""
    sizes = counts.sum(-1)
    return ((counts @ values) / np.maximum(sizes, 1)).sum(-1) / (sizes > 0).sum(-1)


def _resampled(
    kinds: Int64[np.ndarray, "n"], groups: Labels, values: Float64[np.ndarray, "k"]
) -> Float64[np.ndarray, "draws"]:
    """`_means` of many samples of size n drawn with replacement."""
    table = _counts(kinds, groups, len(values))
    n, rng = len(kinds), np.random.default_rng(SEED)
    at_once = max(1, AT_ONCE // table.size)
    sizes = [min(at_once, DRAWS - start) for start in range(0, DRAWS, at_once)]
    drawn = [rng.multinomial(n, table.ravel() / n, size).reshape(size, *table.shape) for size in sizes]
    return np.concatenate([_means(counts, values) for counts in drawn])


def _percentiles(draws: Float64[np.ndarray, "draws"]) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
