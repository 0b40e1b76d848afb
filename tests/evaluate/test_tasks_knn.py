from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch

from transferbench import neighbours
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, knn


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Runtime(torch.device("cpu")), tmp_path / "cache", tmp_path / "scratch")


def scores(outcome) -> dict[str, float]:
    return {score.metric: score.value for score in outcome.scores}


def test_each_k_of_one_search_equals_its_own_search(tiny_candidate, tiny_images, bench, monkeypatch):
    dataset = Dataset(tiny_images(40), tiny_images(15, split="test"))
    searches = []
    monkeypatch.setattr(knn, "search", lambda *a, **k: searches.append(a) or neighbours.search(*a, **k))
    together = scores(knn.run(tiny_candidate, dataset, knn.Config(ks=(1, 7, 20), k=7), 0, bench))
    assert len(searches) == 1
    for k in (1, 7, 20):
        alone = scores(knn.run(tiny_candidate, dataset, knn.Config(ks=(k,), k=k), 0, bench))
        assert alone[f"top1@{k}"] == alone["top1"] == together[f"top1@{k}"]
    assert together["top1"] == together["top1@7"]


def test_a_k_above_the_training_set_is_named_by_what_it_became(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(12), tiny_images(8, split="test"))
    found = scores(knn.run(tiny_candidate, dataset, knn.Config(), 0, bench))
    assert set(found) == {"top1", "top1@5", "top1@10", "top1@12"}
    assert found["top1"] == found["top1@12"]


def test_a_class_without_test_images_can_still_be_predicted(tiny_candidate, tiny_images, bench):
    test = tiny_images(16, split="test")
    test = test.subset(np.flatnonzero(test.labels < 2), "two classes of four")
    outcome = knn.run(tiny_candidate, Dataset(tiny_images(40), test), knn.Config(), 0, bench)
    kept = np.load(outcome.artifacts["predictions"])
    np.testing.assert_array_equal(kept["labels"], test.labels)
    assert outcome.scores[0].value == 100 * (kept["k20"] == test.labels).mean()
    assert outcome.scores[0].n == 8


def test_the_vote_of_a_class_absent_from_the_test_split_counts():
    predicted = knn.vote(np.array([[3, 3, 0]]), np.ones((1, 3)), 4)
    assert predicted.tolist() == [3]


def test_images_that_are_easy_are_found(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(40), tiny_images(20, split="test"))
    for config in (knn.Config(ks=(5,), k=5), knn.Config(ks=(5,), k=5, metric="euclidean", vote="majority")):
        assert scores(knn.run(tiny_candidate, dataset, config, 0, bench))["top1"] > 60


@pytest.mark.parametrize(
    "wrong", [{"k": 3}, {"ks": ()}, {"ks": (0, 5), "k": 5}, {"metric": "euclidean"}, {"temperature": 0}]
)
def test_settings_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(pydantic.ValidationError):
        knn.Config(**wrong)
