"""Average precision and mean accuracy per class against loops written from the VOC2007 development kit's definition."""

import numpy as np
import pytest

from transferbench import metrics


def literal(scores: list[float], relevant: list[bool], points: int | None) -> float:
    """Walk down the ranking, list (recall, precision), then sum up: 11 recalls, or every change of recall."""
    ranking = sorted(range(len(scores)), key=lambda i: -scores[i])
    curve, hits = [], 0
    for place, i in enumerate(ranking, start=1):
        hits += relevant[i]
        curve.append((hits / sum(relevant), hits / place))
    if points is not None:
        wanted = [i / (points - 1) for i in range(points)]
        return sum(max(p for r, p in curve if r >= level - 1e-12) for level in wanted) / points
    area, before = 0.0, 0.0
    for recall, _ in curve:
        area += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return area


@pytest.mark.parametrize("points", [11, None, 5])
@pytest.mark.parametrize("seed", range(8))
def test_average_precision(seed: int, points: int | None):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    relevant = rng.random(n) < 0.3
    relevant[rng.integers(n)] = True
    scores = np.round(rng.normal(size=n) + relevant, 1)
    expected = literal(scores.tolist(), relevant.tolist(), points)
    assert metrics.average_precision(scores, relevant, points) == pytest.approx(expected, abs=1e-12)


def test_average_precision_by_hand():
    relevant = np.array([True, False, True, False])
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    assert metrics.average_precision(scores, relevant, 11) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert metrics.average_precision(scores, relevant) == pytest.approx((1 + 2 / 3) / 2)


def test_what_has_no_average_precision_is_an_error():
    with pytest.raises(ValueError, match="relevant"):
        metrics.average_precision(np.ones(3), np.zeros(3, bool))
    with pytest.raises(ValueError, match="finite"):
        metrics.average_precision(np.array([1.0, np.nan]), np.ones(2, bool))


def test_mean_per_class_weighs_classes_and_not_images():
    labels = np.array([0, 0, 0, 0, 3])
    hits = np.array([True, True, True, False, False])
    assert metrics.mean_per_class(hits, labels) == pytest.approx((0.75 + 0) / 2)
