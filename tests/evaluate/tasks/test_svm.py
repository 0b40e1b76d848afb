"""Linear SVMs on images with several labels: the published recipe, what is hard to tell, and precision by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.metrics import average_precision
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, linear_svm


def several(images: LabeledImages) -> LabeledImages:
    """Classes 0 to 3 as the images have them, and class 4 for those of 0 or 1; every ninth of it is hard to tell."""
    targets = np.zeros((len(images), 5), np.int8)
    targets[np.arange(len(images)), images.labels] = 1
    targets[:, 4] = images.labels < 2
    targets[::9, 4] = -1
    info = dataclasses.replace(
        images.info, metric="map11", carries="several labels", classes=(*images.info.classes, "bright")
    )
    return dataclasses.replace(images, info=info, targets=targets)


@pytest.fixture
def dataset(tiny_images) -> Dataset:
    return Dataset(several(tiny_images(64)), several(tiny_images(37, split="test")))


def run(candidate, dataset: Dataset, folder: Path, **settings):
    bench = Bench(Runtime(torch.device("cpu")), folder / "cache", folder / "scratch")
    config = linear_svm.Config(**settings)
    found = linear_svm.run(candidate, dataset, config, 0, bench)
    train, test = (bench.features(candidate, images, config).features for images in (dataset.train, dataset.test))
    return {s.metric: s for s in found.scores}, dict(np.load(found.artifacts["predictions"])), train, test


def test_one_cost_is_liblinear_on_unit_vectors_with_positives_twice(tiny_candidate, dataset, tmp_path):
    scores, kept, train, test = run(tiny_candidate, dataset, tmp_path, costs=(0.5,))
    unit, new = (x.astype(float) / np.linalg.norm(x.astype(float), axis=1)[:, None] for x in (train, test))
    precisions = []
    for c in range(5):
        shown = np.array([1 if target == 1 else -1 for target in dataset.train.targets[:, c]])
        machine = LinearSVC(C=0.5, class_weight={1: 2, -1: 1}, dual=True, max_iter=2000, random_state=0)
        found = machine.fit(unit, shown).decision_function(new)
        np.testing.assert_allclose(kept["scores"][:, c], found, atol=1e-6)
        told = dataset.test.targets[:, c] >= 0
        precisions.append(average_precision(found[told], dataset.test.targets[told, c] == 1, 11))
    assert scores["map11"].value == pytest.approx(100 * np.mean(precisions))
    low, high = scores["map11"].bootstrap
    assert low <= scores["map11"].value <= high


def test_the_cost_is_chosen_by_cross_validation_on_the_training_images(tiny_candidate, dataset, tmp_path, monkeypatch):
    best = {0.1: 0.5, 1.0: 0.9, 10.0: 0.9}
    asked = []

    def judged(machine, features, shown, cv, scoring):
        asked.append((len(features), cv, scoring))
        return np.full(cv, best[machine.C])

    monkeypatch.setattr("sklearn.model_selection.cross_val_score", judged)
    _, kept, _, _ = run(tiny_candidate, dataset, tmp_path, costs=(0.1, 1.0, 10.0))
    assert kept["costs"].tolist() == [1.0] * 5
    assert set(asked) == {(64, 3, "average_precision")}


def test_images_that_are_hard_to_tell_are_not_tested(tiny_candidate, dataset, tmp_path):
    _, kept, _, _ = run(tiny_candidate, dataset, tmp_path, costs=(1.0,))
    hard = dataset.test.targets[:, 4] == -1
    assert hard.any()
    expected = average_precision(kept["scores"][~hard, 4], dataset.test.targets[~hard, 4] == 1, 11)
    assert kept["precisions"][4] == pytest.approx(expected)


def test_a_class_with_too_few_images_is_named(tiny_candidate, dataset, tmp_path):
    targets = dataset.train.targets.copy()
    targets[8:, 3] = 0
    few = Dataset(dataclasses.replace(dataset.train, targets=targets), dataset.test)
    with pytest.raises(UserError, match="Too few images show class3"):
        run(tiny_candidate, few, tmp_path)
    one = Dataset(dataclasses.replace(dataset.train, targets=None), dataset.test)
    with pytest.raises(UserError, match="one label per image"):
        run(tiny_candidate, one, tmp_path)
