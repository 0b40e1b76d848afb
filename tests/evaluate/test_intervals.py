"""Bootstrap by counting is the bootstrap by drawing samples, and the comparison of two classifiers is McNemar's."""

import math

import numpy as np
import pytest

from transferbench import intervals
from transferbench.metrics import wilson


def drawn(values: np.ndarray, labels: np.ndarray, draws: int = 4000) -> tuple[float, float]:
    """The percentile interval from samples really drawn, one at a time, and a loop over classes."""
    rng, found = np.random.default_rng(7), []
    for _ in range(draws):
        chosen = rng.integers(0, len(values), len(values))
        means = [values[chosen][labels[chosen] == c].mean() for c in np.unique(labels[chosen])]
        found.append(np.mean(means))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


@pytest.fixture
def guesses() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of three classes of unequal size, and two classifiers' hits on them."""
    rng = np.random.default_rng(1)
    labels = rng.choice(3, 240, p=[0.7, 0.2, 0.1])
    first = rng.random(240) < np.array([0.9, 0.5, 0.2])[labels]
    return labels, first, first ^ (rng.random(240) < 0.15)


def test_the_interval_of_a_mean_is_that_of_drawn_samples_and_near_wilsons(guesses):
    labels, hits, _ = guesses
    found = intervals.bootstrap(hits)
    assert found == pytest.approx(drawn(hits, np.zeros_like(labels)), abs=0.012)
    assert found == pytest.approx(wilson(int(hits.sum()), len(hits)), abs=0.012)
    assert found == intervals.bootstrap(hits)


def test_the_interval_of_a_mean_over_classes_is_that_of_drawn_samples(guesses):
    labels, hits, _ = guesses
    found = intervals.bootstrap(hits, labels)
    assert found == pytest.approx(drawn(hits, labels), abs=0.012)
    assert found != pytest.approx(intervals.bootstrap(hits), abs=0.05)


def test_classes_that_do_not_occur_change_nothing(guesses):
    labels, hits, _ = guesses
    assert intervals.bootstrap(hits, 5 * labels + 2) == pytest.approx(intervals.bootstrap(hits, labels), abs=0.012)


def test_many_classes_are_drawn_in_parts(guesses, monkeypatch):
    labels, hits, _ = guesses
    monkeypatch.setattr(intervals, "AT_ONCE", 60)
    assert intervals.bootstrap(hits, labels) == pytest.approx(drawn(hits, labels), abs=0.012)


def test_two_classifiers_are_compared_on_the_same_samples(guesses):
    labels, first, second = guesses
    found = intervals.compare(first, second)
    difference = second.astype(float) - first
    assert found.difference == pytest.approx(difference.mean())
    assert found.interval == pytest.approx(drawn(difference, np.zeros_like(labels)), abs=0.012)
    assert (found.only_first, found.only_second) == ((first & ~second).sum(), (second & ~first).sum())
    by_class = intervals.compare(first, second, labels)
    assert by_class.difference == pytest.approx(np.mean([difference[labels == c].mean() for c in range(3)]))
    assert by_class.interval == pytest.approx(drawn(difference, labels), abs=0.015)
    turned = intervals.compare(second, first)
    assert (turned.difference, turned.p_value) == (-found.difference, found.p_value)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (3, 3), (2, 9), (14, 5), (60, 40)])
def test_mcnemars_p_value_sums_the_outcomes_at_least_as_uneven(b: int, c: int):
    total = b + c
    extreme = [k for k in range(total + 1) if abs(k - total / 2) >= abs(b - total / 2)]
    assert intervals.mcnemar(b, c) == pytest.approx(sum(math.comb(total, k) for k in extreme) / 2**total)


def test_mcnemar_of_many_samples_is_the_normal_approximation():
    z = abs(5100 - 4900) / math.sqrt(10000)
    assert intervals.mcnemar(5100, 4900) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.03)


def test_the_interval_of_a_statistic_of_sums_is_that_of_drawn_samples(guesses, monkeypatch):
    labels, hits, _ = guesses
    rows = np.stack([hits, labels == 0], 1).astype(np.float64)

    def shares(sums: np.ndarray) -> np.ndarray:
        return sums / len(hits)

    whole = intervals.of_sums(rows, shares)
    for interval, values in zip(whole, rows.T, strict=True):
        assert interval == pytest.approx(drawn(values, np.zeros_like(labels)), abs=0.012)
    monkeypatch.setattr(intervals, "AT_ONCE", 3000)
    assert np.array(intervals.of_sums(rows, shares)) == pytest.approx(np.array(whole), abs=1e-12)
