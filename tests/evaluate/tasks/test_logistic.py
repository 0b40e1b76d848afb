import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from transferbench.data.subsets import stratified
from transferbench.errors import UserError
from transferbench.features.extraction import extract
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, logistic, semi, semi_logistic

HERE = Runtime(torch.device("cpu"))


@pytest.fixture
def bench(tmp_path, cache) -> Bench:
    return Bench(HERE, cache, tmp_path)


def scores(outcome) -> dict[str, float]:
    return {score.metric: score.value for score in outcome.scores}


def test_a_fit_cut_short_says_so(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(40), tiny_images(20, split="test"))
    short = scores(logistic.run(tiny_candidate, dataset, logistic.Config(max_iterations=1), 0, bench))
    whole = scores(logistic.run(tiny_candidate, dataset, logistic.Config(), 0, bench))
    assert short["converged"] == 0
    assert whole["converged"] == 1
    assert whole["top1"] > 60
    assert "top5" not in whole


@pytest.mark.parametrize("classes", [2, 4])
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


@pytest.mark.parametrize("classes", [2, 4])
def test_predictions_are_scikit_learns(classes, tiny_candidate, tiny_images, bench):
    test = tiny_images(20, classes=classes, split="test")
    train = tiny_images(30, classes=classes)
    found = logistic.run(tiny_candidate, Dataset(train, test), logistic.Config(), 0, bench)
    given = extract(tiny_candidate, train, bench.cache, HERE, 0).features
    model = LogisticRegression(max_iter=1000).fit(given, train.labels)
    seen = extract(tiny_candidate, test, bench.cache, HERE, 0).features
    np.testing.assert_array_equal(np.load(found.artifacts["predictions"])["predictions"], model.predict(seen))


def test_held_out_training_images_choose_among_several_c(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(90, classes=9), tiny_images(20, classes=9, split="test"))
    config = logistic.Config(choose_C=(100.0, 1e-4, 0.1), tolerance=1e-6)
    outcome = logistic.run(tiny_candidate, dataset, config, 3, bench)
    train = bench.features(tiny_candidate, dataset.train, "float32")
    apart = stratified(train.labels, 0.1, 3)
    rest = np.setdiff1d(np.arange(90), apart)
    hits = {}
    for c in (1e-4, 0.1, 100.0):
        model = LogisticRegression(C=c, tol=1e-6, max_iter=5000).fit(train.features[rest], train.labels[rest])
        hits[c] = model.score(train.features[apart], train.labels[apart])
    chosen = max(hits, key=lambda c: hits[c])
    assert len(set(hits.values())) > 1
    assert chosen > 1e-4
    assert scores(outcome)["chosen_C"] == chosen
    assert {score.selected_by for score in outcome.scores if score.metric in ("top1", "chosen_C")} == {"val"}
    alone = logistic.run(tiny_candidate, dataset, logistic.Config(C=chosen, tolerance=1e-6), 3, bench)
    assert scores(alone)["top1"] == scores(outcome)["top1"]


@pytest.mark.parametrize("percent", [10, 50])
def test_semi_logistic_sees_the_labels_that_semi_sees(percent, tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(80), tiny_images(20, split="test"))
    found = semi_logistic.run(tiny_candidate, dataset, semi_logistic.Config(percent=percent), 2, bench)
    few = Dataset(semi.labeled(dataset.train, percent, 2), dataset.test)
    assert scores(found) == scores(logistic.run(tiny_candidate, few, logistic.Config(), 2, bench))
    assert semi_logistic.label(semi_logistic.Config()) == "logistic 1 %"


def test_one_class_is_refused(tiny_candidate, tiny_images, bench):
    train = tiny_images(8)
    alone = train.subset(np.flatnonzero(train.labels == 1), "one class")
    with pytest.raises(UserError, match="at least 2 classes"):
        logistic.run(tiny_candidate, Dataset(alone, tiny_images(8, split="test")), logistic.Config(), 0, bench)
