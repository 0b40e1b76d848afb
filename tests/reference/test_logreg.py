"""Logistic regression against scikit-learn's, whose objective it minimizes, and against the definition."""

from itertools import product

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from transferbench.probing.logistic_regression import Problem


def draw(n: int, d: int, classes: int, scale: float = 1.0):
    rng = np.random.default_rng([n, d, classes])
    labels = np.arange(n) % classes
    rows = rng.normal(size=(classes, d))[labels] * 0.7 + rng.normal(size=(n, d))
    return (scale * np.maximum(rows, -0.5) + 3 * scale).astype(np.float32), labels


def objective(rows, labels, weight, bias, strength: float) -> float:
    """Mean cross entropy + |weights|² / (2 C n), one sample at a time; two classes share one weight vector."""
    total = 0.0
    for row, label in zip(rows.astype(np.float64), labels, strict=True):
        logits = weight @ row + bias
        logits = np.array([0.0, logits[0]]) if len(logits) == 1 else logits
        total += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label]
    return total / len(rows) + (weight**2).sum() / (2 * strength * len(rows))


SCALES = (1.0, 30.0)
EVERY = list(product(enumerate([2, 3, 7]), enumerate([0.01, 1.0, 100.0]), SCALES))
"""Every number of classes with every strength at one of the scales, and in the slow tests at both."""


@pytest.mark.parametrize(
    ("classes", "strength", "scale"),
    [
        pytest.param(classes, strength, scale, marks=[] if scale == SCALES[(i + j) % 2] else pytest.mark.slow)
        for (i, classes), (j, strength), scale in EVERY
    ],
)
def test_the_minimum_is_scikit_learns(classes, strength, scale):
    rows, labels = draw(200, 5, classes, scale)
    theirs = LogisticRegression(C=strength, tol=1e-9, max_iter=10000).fit(rows.astype(np.float64), labels)
    fit = Problem.of(torch.from_numpy(rows), torch.from_numpy(labels)).fit(strength, 1e-8, 1000)
    ours = fit.parameters.numpy()
    lowest = objective(rows, labels, theirs.coef_, theirs.intercept_, strength)
    assert fit.converged
    assert fit.loss == pytest.approx(objective(rows, labels, ours[:, :-1], ours[:, -1], strength), rel=1e-9)
    assert fit.loss <= lowest * (1 + 1e-9)
    np.testing.assert_allclose(ours[:, :-1], theirs.coef_, atol=1e-3 * np.abs(theirs.coef_).max())
    logits = fit.logits(torch.from_numpy(rows))
    np.testing.assert_allclose(torch.softmax(logits, 1).numpy(), theirs.predict_proba(rows), atol=1e-3)


def test_a_fit_cut_short_has_not_converged():
    rows, labels = draw(60, 4, 3)
    problem = Problem.of(torch.from_numpy(rows), torch.from_numpy(labels))
    short, whole = problem.fit(0.5, 1e-6, 2), problem.fit(0.5, 1e-6, 1000)
    assert (short.iterations, short.converged, whole.converged) == (2, False, True)
    assert short.loss > whole.loss


def test_a_path_ends_at_the_minima_of_single_fits_and_sooner():
    rows, labels = draw(120, 6, 4)
    problem = Problem.of(torch.from_numpy(rows), torch.from_numpy(labels))
    strengths = [0.01, 0.1, 0.11, 10.0, 1.0]
    for strength, cold, warm in zip(
        strengths, (problem.fit(c, 1e-7, 1000) for c in strengths), problem.path(strengths, 1e-7, 1000), strict=True
    ):
        weights = warm.parameters.numpy()
        assert warm.converged
        assert warm.loss == pytest.approx(cold.loss, rel=1e-9)
        assert warm.loss == pytest.approx(objective(rows, labels, weights[:, :-1], weights[:, -1], strength), rel=1e-9)
    steps = sum(fit.iterations for fit in problem.path(strengths, 1e-4, 1000))
    assert steps < 0.8 * sum(problem.fit(c, 1e-4, 1000).iterations for c in strengths)


def test_features_that_are_constant_or_linked_do_no_harm():
    rows, labels = draw(90, 4, 3)
    rows = np.concatenate([rows, rows[:, :2], np.zeros((90, 2), np.float32), np.ones((90, 1), np.float32)], 1)
    theirs = LogisticRegression(tol=1e-9, max_iter=10000).fit(rows.astype(np.float64), labels)
    fit = Problem.of(torch.from_numpy(rows), torch.from_numpy(labels)).fit(1.0, 1e-7, 1000)
    assert fit.converged
    assert fit.loss <= objective(rows, labels, theirs.coef_, theirs.intercept_, 1.0) * (1 + 1e-9)


def test_classes_that_can_be_told_apart_wholly_converge():
    rows = np.repeat(np.eye(3, dtype=np.float32), 20, 0)
    fit = Problem.of(torch.from_numpy(rows), torch.arange(3).repeat_interleave(20)).fit(1e4, 1e-5, 1000)
    assert fit.converged
    assert (fit.logits(torch.from_numpy(rows)).argmax(1) == torch.arange(3).repeat_interleave(20)).all()
