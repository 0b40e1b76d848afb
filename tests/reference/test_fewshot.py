"""The few-shot probe against ridge regression written out: normal equations, and a fit for each image left out."""

import numpy as np
import pytest

from transferbench.tasks import fewshot


def literal(samples: np.ndarray, targets: np.ndarray, new: np.ndarray, penalty: float) -> np.ndarray:
    """Least squares with a penalty on all weights but the intercept, by solving for both together."""
    n, d = samples.shape
    design = np.hstack([samples, np.ones((n, 1))])
    penalties = np.diag([penalty] * d + [0.0])
    weights = np.linalg.solve(design.T @ design + penalties, design.T @ targets)
    return np.hstack([new, np.ones((len(new), 1))]) @ weights


def drawn(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % classes
    centers = rng.normal(size=(classes, d))
    return centers[labels] + 1.2 * rng.normal(size=(n, d)) + 3, labels, rng.normal(size=(40, d)) + 3


@pytest.mark.parametrize(("n", "d"), [(12, 30), (40, 7), (9, 9), (3, 5)])
@pytest.mark.parametrize("penalty", [1e-3, 0.7, 50.0])
def test_one_decomposition_gives_the_regression_of_every_penalty(n: int, d: int, penalty: float):
    samples, labels, new = drawn(n, d, 3)
    targets = np.eye(3)[labels]
    found = fewshot.ridge(samples, targets)
    np.testing.assert_allclose(found.scores(new, penalty), literal(samples, targets, new, penalty), atol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(12, 30), (40, 7), (9, 9)])
@pytest.mark.parametrize("penalty", [1e-2, 5.0])
def test_leaving_one_out_is_fitting_all_the_others(n: int, d: int, penalty: float):
    samples, labels, _ = drawn(n, d, 3)
    targets = np.eye(3)[labels]
    found = fewshot.ridge(samples, targets).left_out(penalty)
    for i in range(n):
        rest = np.arange(n) != i
        alone = literal(samples[rest], targets[rest], samples[i : i + 1], penalty)
        np.testing.assert_allclose(found[i], alone[0], atol=1e-7)


@pytest.mark.parametrize(("n", "d"), [(12, 30), (60, 7)])
def test_the_penalty_that_predicts_most_left_out_images_decides(n: int, d: int):
    samples, labels, new = drawn(n, d, 3, seed=4)
    config = fewshot.Config()
    unit = ((samples - samples.mean(0)) ** 2).sum() / n
    best, most = 0.0, -1
    for penalty in config.penalties:
        hits = 0
        for i in range(n):
            rest = np.arange(n) != i
            scores = literal(samples[rest], np.eye(3)[labels[rest]], samples[i : i + 1], penalty * unit)
            hits += int(scores[0].argmax() == labels[i])
        best, most = (penalty, hits) if hits >= most else (best, most)
    expected = literal(samples, np.eye(3)[labels], new, best * unit).argmax(1)
    assert fewshot._predicted(samples, labels, new, 3, config).tolist() == expected.tolist()
    fixed = config.model_copy(update={"penalties": (1e-4,)})
    other = literal(samples, np.eye(3)[labels], new, 1e-4 * unit).argmax(1)
    assert fewshot._predicted(samples, labels, new, 3, fixed).tolist() == other.tolist()


def test_constant_and_repeated_features_are_no_trouble():
    samples, labels = np.ones((6, 4)), np.arange(6, dtype=np.int64) % 3
    assert set(fewshot._predicted(samples, labels, samples, 3, fewshot.Config()).tolist()) == {0}
    twice = np.repeat(np.eye(3), 2, axis=0)
    assert fewshot._predicted(twice, np.repeat(np.arange(3), 2), np.eye(3), 3, fewshot.Config()).tolist() == [0, 1, 2]
