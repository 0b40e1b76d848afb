import numpy as np
import pytest
import torch

from transferbench.errors import UserError
from transferbench.features import FeatureSet, extract
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, logistic

HERE = Runtime(torch.device("cpu"))


@pytest.fixture
def bench(tmp_path, cache) -> Bench:
    return Bench(HERE, cache, tmp_path)


def scores(outcome) -> dict[str, float]:
    return {score.metric: score.value for score in outcome.scores}


def test_the_fit_is_the_minimum_of_the_penalised_cross_entropy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    model, converged = logistic._fit(FeatureSet(x, y), logistic.Config(C=0.5, tolerance=1e-8))
    weight = torch.tensor(model.coef_, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(model.intercept_, dtype=torch.float64, requires_grad=True)
    logits = torch.tensor(x, dtype=torch.float64) @ weight.T + bias
    losses = torch.logsumexp(logits, 1) - logits[range(60), y]
    objective = 0.5 * losses.sum() + weight.square().sum() / 2
    gradients = torch.autograd.grad(objective, [weight, bias])
    assert converged
    assert max(float(g.abs().max()) for g in gradients) < 1e-4


def test_a_fit_cut_short_says_so(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(40), tiny_images(20, split="test"))
    short = scores(logistic.run(tiny_candidate, dataset, logistic.Config(max_iterations=1), 0, bench))
    whole = scores(logistic.run(tiny_candidate, dataset, logistic.Config(), 0, bench))
    assert short["converged"] == 0
    assert whole["converged"] == 1
    assert whole["top1"] > 60
    assert "top5" not in whole


@pytest.mark.parametrize("classes", [2, 7])
def test_classes_missing_from_train_are_never_predicted(classes, tiny_candidate, tiny_images, bench):
    train = tiny_images(42, classes=7)
    train = train.subset(np.flatnonzero((train.labels > 2) & (train.labels < 3 + classes)), f"{classes} classes")
    test = tiny_images(21, classes=7, split="test")
    outcome = logistic.run(tiny_candidate, Dataset(train, test), logistic.Config(), 0, bench)
    predictions = np.load(outcome.artifacts["predictions"])["predictions"]
    assert set(predictions) <= set(train.labels)
    assert len(set(predictions)) > 1
    assert scores(outcome)["top1"] == pytest.approx(100 * (predictions == test.labels).mean())
    assert scores(outcome)["top5"] >= scores(outcome)["top1"]


def test_two_classes_are_told_apart(tiny_candidate, tiny_images, bench):
    test = tiny_images(20, classes=2, split="test")
    train = tiny_images(30, classes=2)
    found = logistic.run(tiny_candidate, Dataset(train, test), logistic.Config(), 0, bench)
    model, _ = logistic._fit(extract(tiny_candidate, train, bench.cache, HERE, 0), logistic.Config())
    seen = extract(tiny_candidate, test, bench.cache, HERE, 0).features
    np.testing.assert_array_equal(np.load(found.artifacts["predictions"])["predictions"], model.predict(seen))


def test_one_class_is_refused(tiny_candidate, tiny_images, bench):
    train = tiny_images(8)
    alone = train.subset(np.flatnonzero(train.labels == 1), "one class")
    with pytest.raises(UserError, match="at least 2 classes"):
        logistic.run(tiny_candidate, Dataset(alone, tiny_images(8, split="test")), logistic.Config(), 0, bench)
