"""Every rank measure against the formula written out, eigenvalue by eigenvalue, with nothing shared."""

import math

import numpy as np
import pytest

from transferbench import metrics
from transferbench.errors import UserError


def literal_eigenvalues(features) -> list[float]:
    """Squared singular values of the centered matrix over n - 1; at most n - 1 of them can be non-zero."""
    x = np.array([[float(v) for v in row] for row in features])
    mean = [math.fsum(column) / len(x) for column in x.T]
    singular = np.linalg.svd(x - np.array(mean), compute_uv=False)
    return [float(s) ** 2 / (len(x) - 1) for s in singular][: min(len(x) - 1, x.shape[1])]


def features(n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng([n, d])
    mixed = rng.normal(size=(n, d)) * 2.0 ** -np.arange(d) @ rng.normal(size=(d, d)) + 5
    return mixed.astype(np.float32)


SHAPES = [(40, 6), (6, 40), (7, 7), (2, 3), (30, 1)]


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_rank_measures_are_their_formulas(n: int, d: int):
    x = features(n, d)
    lam = literal_eigenvalues(x)
    found = metrics.eigenvalues(metrics.centered(x))
    np.testing.assert_allclose(found, lam, rtol=1e-6, atol=1e-9 * lam[0])
    total = sum(lam)
    s = [math.sqrt(v) for v in lam]
    q = [v / sum(s) + 1e-7 for v in s]
    assert metrics.rankme(found) == pytest.approx(math.exp(-sum(p * math.log(p) for p in q)), rel=1e-6)
    entropy = -sum(v / total * math.log(v / total) for v in lam if v > 0)
    assert metrics.effective_rank(found) == pytest.approx(math.exp(entropy), rel=1e-6)
    assert metrics.stable_rank(found) == pytest.approx(total / max(lam), rel=1e-6)
    assert metrics.participation_ratio(found) == pytest.approx(total**2 / sum(v * v for v in lam), rel=1e-6)
    assert metrics.numerical_rank(found, 1e-3) == sum(v > 1e-3 * max(lam) for v in lam)
    assert metrics.log_condition(found, 1e-12) == pytest.approx(math.log10(max(lam) / min(lam)), abs=1e-4)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 40), (2, 3)])
def test_mean_absolute_correlation_is_over_every_pair(n: int, d: int):
    x = features(n, d)
    pairs = [abs(pearson(x[:, i], x[:, j])) for i in range(d) for j in range(d) if i != j]
    assert metrics.mean_absolute_correlation(metrics.centered(x)) == pytest.approx(sum(pairs) / len(pairs), rel=1e-9)


def pearson(a, b) -> float:
    a, b = [float(v) for v in a], [float(v) for v in b]
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    above = sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True))
    return above / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def test_dimensions_without_variance_change_no_rank_and_no_correlation():
    x = features(40, 6)
    dead = np.concatenate([x[:, :3], np.full((40, 4), 0.1, np.float32), x[:, 3:]], 1)
    plain, padded = metrics.centered(x), metrics.centered(dead)
    assert not padded[:, 3:7].any()
    a, b = metrics.eigenvalues(plain), metrics.eigenvalues(padded)
    for measure in (metrics.effective_rank, metrics.stable_rank, metrics.participation_ratio):
        assert measure(b) == pytest.approx(measure(a))
    assert metrics.rankme(b) == pytest.approx(metrics.rankme(a), rel=1e-4)
    assert metrics.numerical_rank(b, 1e-6) == metrics.numerical_rank(a, 1e-6)
    assert metrics.mean_absolute_correlation(padded) == pytest.approx(metrics.mean_absolute_correlation(plain))
    assert metrics.log_condition(b, 1e-12) == 12


@pytest.mark.parametrize("value", [0.0, 0.1])
@pytest.mark.parametrize(("n", "d"), [(5, 3), (3, 5), (1, 4)])
def test_constant_features_have_rank_nothing_and_the_worst_condition(value: float, n: int, d: int):
    deviations = metrics.centered(np.full((n, d), value, np.float32))
    lam = metrics.eigenvalues(deviations)
    ranks = (metrics.rankme, metrics.effective_rank, metrics.stable_rank, metrics.participation_ratio)
    assert [rank(lam) for rank in ranks] == [0, 0, 0, 0]
    assert metrics.numerical_rank(lam, 1e-6) == 0
    assert metrics.log_condition(lam, 1e-12) == 12
    assert metrics.mean_absolute_correlation(deviations) == 0


def test_equal_eigenvalues_have_full_rank_by_every_measure():
    lam = np.full(16, 0.25)
    for measure in (metrics.effective_rank, metrics.stable_rank, metrics.participation_ratio):
        assert measure(lam) == pytest.approx(16)
    assert metrics.rankme(lam) == pytest.approx(16, rel=1e-4)
    assert metrics.numerical_rank(lam, 0.5) == 16
    assert metrics.log_condition(lam, 1e-12) == 0


def test_wilson_interval_solves_its_equation():
    for hits, n in [(0, 10), (3, 10), (10, 10), (713, 1000)]:
        for bound in metrics.wilson(hits, n):
            if 0 < bound < 1:
                distance = abs(hits / n - bound) / math.sqrt(bound * (1 - bound) / n)
                assert distance == pytest.approx(1.959964, abs=1e-5)
    assert metrics.wilson(0, 10)[0] == 0
    assert metrics.wilson(10, 10)[1] == 1


def test_top_k_hits_by_sorting():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 4, (200, 7)).astype(np.float32), rng.integers(0, 7, 200)
    for k in (1, 5):
        expected = [
            label in sorted(range(7), key=lambda c: (-row[c], c))[:k] for row, label in zip(scores, labels, strict=True)
        ]
        assert metrics.top_k_hits(scores, labels, k).tolist() == expected
    assert (metrics.top_k_hits(scores, labels, 1) == (scores.argmax(1) == labels)).all()


def test_scores_that_are_not_finite_are_never_hits():
    with pytest.raises(UserError, match=r"2 of 2 scores .* are not finite"):
        metrics.top_k_hits(np.array([[np.nan, np.nan]]), np.array([0]), 1)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_mean_cosine_is_over_every_pair_of_samples(n: int, d: int):
    x = features(n, d).astype(np.float64) - 5

    def cosine(a, b) -> float:
        return math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))

    pairs = [cosine(x[i], x[j]) for i in range(n) for j in range(n) if i != j]
    assert metrics.mean_cosine(x.astype(np.float32)) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


def test_samples_at_zero_point_nowhere_and_are_alike():
    x = np.array([[0, 0], [0, 0], [1, 0]], np.float32)
    assert metrics.mean_cosine(x) == pytest.approx(2 / 6)
    assert metrics.mean_cosine(np.zeros((4, 3), np.float32)) == 1


def test_standard_deviations_are_unbiased():
    x = features(9, 3)
    expected = [math.sqrt(sum((v - sum(map(float, c)) / 9) ** 2 for v in map(float, c)) / 8) for c in x.T]
    assert metrics.standard_deviations(metrics.centered(x)) == pytest.approx(expected)


def test_correlations_of_many_dimensions_are_summed_in_parts_to_the_same():
    x = np.random.default_rng(0).normal(size=(5, 1500)).astype(np.float32)
    rho = np.abs(np.corrcoef(x.astype(np.float64).T))
    expected = (rho.sum() - 1500) / (1500 * 1499)
    assert metrics.mean_absolute_correlation(metrics.centered(x)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("decay", [0.0, 0.7, 2.0])
def test_the_power_law_of_exact_powers_is_found(decay: float):
    assert metrics.power_law(3.0 / np.arange(1, 40) ** decay, 1e-6) == pytest.approx(decay, abs=1e-12)


def test_the_power_law_is_the_least_squares_slope_of_what_is_above_the_tolerance():
    values = np.array([5.0, 3.0, 1.0, 0.2, 1e-9])
    slope = np.polyfit(np.log([1, 2, 3, 4]), np.log(values[:4]), 1)[0]
    assert metrics.power_law(values, 1e-6) == pytest.approx(-slope)
    assert metrics.power_law(np.array([1.0, 1e-9]), 1e-6) == 0


def literal_unit(features) -> list[list[float]]:
    rows = [[float(v) for v in row] for row in features]
    return [[v / math.sqrt(sum(w * w for w in row)) for v in row] if any(row) else row for row in rows]


def literal_distance(a, b) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("n", "d"), [(9, 4), (4, 9), (2, 1), (1030, 2)])
def test_uniformity_and_alignment_are_over_every_pair(n: int, d: int):
    x = features(n, d) - 5
    x[0] = 0
    rows, labels = literal_unit(x), [i % 3 for i in range(n)]
    distances = [((np.array(rows) - row) ** 2).sum(1) for row in rows]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    kernel = [math.exp(-2 * distances[i][j]) for i, j in pairs]
    assert metrics.uniformity(x) == pytest.approx(math.log(math.fsum(kernel) / len(pairs)), rel=1e-9, abs=1e-12)
    within = [distances[i][j] for i, j in pairs if labels[i] == labels[j]]
    expected = math.fsum(within) / len(within) if within else 0.0
    assert metrics.class_alignment(x, np.array(labels)) == pytest.approx(expected, rel=1e-9)
