import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch

from transferbench import neighbors
from transferbench.data.subsets import per_class
from transferbench.errors import UserError
from transferbench.neighbors import cache as keeping
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, knn


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Runtime(torch.device("cpu")), tmp_path / "cache", tmp_path / "scratch")


def scores(outcome) -> dict[str, float]:
    return {score.metric: score.value for score in outcome.scores}


def test_each_k_of_one_search_equals_its_own_search(tiny_candidate, tiny_images, bench, tmp_path, monkeypatch):
    dataset = Dataset(tiny_images(40), tiny_images(15, split="test"))
    searches = []
    monkeypatch.setattr(keeping, "search", lambda *a, **k: searches.append(a) or neighbors.search(*a, **k))
    together = scores(knn.run(tiny_candidate, dataset, knn.Config(ks=(1, 7, 20), k=7), 0, bench))
    assert len(searches) == 1
    for k in (1, 7, 20):
        apart = dataclasses.replace(bench, cache=tmp_path / str(k))
        alone = scores(knn.run(tiny_candidate, dataset, knn.Config(ks=(k,), k=k), 0, apart))
        assert alone[f"top1@{k}"] == alone["top1"] == together[f"top1@{k}"]
    assert together["top1"] == together["top1@7"]


def test_presets_share_one_search_of_the_same_order(tiny_candidate, tiny_images, bench, monkeypatch):
    dataset = Dataset(tiny_images(40), tiny_images(15, split="test"))
    searches = []
    monkeypatch.setattr(keeping, "search", lambda *a, **k: searches.append(a) or neighbors.search(*a, **k))
    for config in (
        *(knn.Config(preset=name) for name in ("instdisc", "simsiam", "dino", "wmse5")),
        knn.Config(k=3, temperature=1),
        knn.Config(preset="wmse5", k=2, ks=()),
    ):
        knn.run(tiny_candidate, dataset, config, 0, bench)
    assert len(searches) == 2
    knn.run(tiny_candidate, dataset, knn.Config(preset="wmse5", k=6), 0, bench)
    knn.run(tiny_candidate, Dataset(tiny_images(44), dataset.test), knn.Config(preset="wmse5"), 0, bench)
    assert len(searches) == 4


def test_few_shots_are_so_many_of_each_class_by_the_seed(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(40), tiny_images(20, split="test"))
    config = knn.Config(preset="wmse5", k=1, per_class=2)
    assert knn.label(config) == "1-NN (euclidean, 2 a class)"
    found = [knn.run(tiny_candidate, dataset, config, seed, bench) for seed in (0, 0, 1, 2, 3)]
    chosen = per_class(dataset.train.labels, 2, 3)
    assert np.bincount(dataset.train.labels[chosen]).tolist() == [2, 2, 2, 2]
    assert set(chosen) < set(per_class(dataset.train.labels, 3, 3))
    few = Dataset(dataset.train.subset(chosen, "few"), dataset.test)
    alone = knn.run(tiny_candidate, few, knn.Config(preset="wmse5", k=1), 0, bench)
    assert scores(alone) == scores(found[4])
    assert scores(found[0]) == scores(found[1])


def test_images_that_are_there_twice_are_ranked_by_their_place(tiny_candidate, tiny_images, bench):
    train = tiny_images(40)
    twice = train.subset(np.concatenate([np.arange(40), np.arange(40)]), "twice")
    config = knn.Config(preset="wmse5", k=2, ks=())
    once = knn.run(tiny_candidate, Dataset(train, tiny_images(15, split="test")), knn.Config(k=1, ks=()), 0, bench)
    both = knn.run(tiny_candidate, Dataset(twice, tiny_images(15, split="test")), knn.Config(k=2, ks=()), 0, bench)
    assert scores(once)["top1"] == scores(both)["top1"]
    features = bench.features(tiny_candidate, twice, "float32").features
    found = neighbors.search(features, features[40:50], config.k, "euclidean")
    assert found.indices.tolist() == [[i, 40 + i] for i in range(10)]


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


def test_the_main_score_is_of_its_own_k(tiny_candidate, tiny_images, bench, monkeypatch):
    """Each image's nearest neighbor is of its class, and both next ones are of another."""
    own = np.arange(8) % 4
    indices = np.stack([own, (own + 1) % 4, (own + 1) % 4 + 4], 1)
    monkeypatch.setattr(knn, "cached_search", lambda *_: neighbors.Neighbors(np.ones((8, 3)), indices))
    dataset = Dataset(tiny_images(12), tiny_images(8, split="test"))
    for k, top1 in ((1, 100), (3, 0)):
        outcome = knn.run(tiny_candidate, dataset, knn.Config(k=k, ks=(1, 3)), 0, bench)
        assert scores(outcome) == {"top1": top1, "top1@1": 100, "top1@3": 0}
        kept = np.load(outcome.artifacts["predictions"])
        assert (kept["predictions"] == kept[f"k{k}"]).all()


def test_every_row_of_many_is_voted_on_with_its_own_weights():
    """Rows past the 4,096 that are counted together too."""
    draw = np.random.default_rng(0)
    labels, weights = draw.integers(0, 3, (8200, 4)), draw.random((8200, 4))
    totals = np.stack([(weights * (labels == c)).sum(1) for c in range(3)], 1)
    np.testing.assert_array_equal(knn.vote(labels, weights, 3), totals.argmax(1))


def test_images_that_are_easy_are_found(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(40), tiny_images(20, split="test"))
    for config in (knn.Config(ks=(5,), k=5), knn.Config(ks=(5,), k=5, metric="euclidean", vote="majority")):
        assert scores(knn.run(tiny_candidate, dataset, config, 0, bench))["top1"] > 60


@pytest.mark.parametrize("wrong", [{"k": 0}, {"ks": (0, 5), "k": 5}, {"metric": "euclidean"}, {"temperature": 0}])
def test_settings_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(pydantic.ValidationError):
        knn.Config(**wrong)


def test_features_that_are_not_finite_are_told_by_split_and_never_voted_with(
    tiny_candidate, tiny_images, bench, monkeypatch
):
    dataset = Dataset(tiny_images(20), tiny_images(8, split="test"))
    original = Bench.features

    def features(*asked):
        found = original(*asked)
        rows = np.array(found.features)
        rows[3] = np.nan
        return dataclasses.replace(found, features=rows)

    monkeypatch.setattr(Bench, "features", features)
    with pytest.raises(UserError, match=r"1 of 20 training images.*; 1 of 8 test images"):
        knn.run(tiny_candidate, dataset, knn.Config(), 0, bench)
    assert not (bench.cache / "neighbours").exists()


def test_damaged_neighbors_are_searched_again(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(20), tiny_images(8, split="test"))
    first = scores(knn.run(tiny_candidate, dataset, knn.Config(), 0, bench))
    [path] = (bench.cache / "neighbours").iterdir()
    path.write_bytes(path.read_bytes()[:200])
    assert scores(knn.run(tiny_candidate, dataset, knn.Config(), 0, bench)) == first


def test_a_temperature_that_no_vote_uses_is_refused():
    with pytest.raises(pydantic.ValidationError, match=r"has no temperature, found 0\.2: leave it at 0\.07"):
        knn.Config(preset="wmse5", temperature=0.2)
    assert knn.Config(preset="wmse5", temperature=0.07) == knn.Config(preset="wmse5")
    assert knn.Config(temperature=0.2).temperature == 0.2


def test_a_main_k_above_the_number_of_images_is_warned_of(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(8), tiny_images(4, split="test"))
    with pytest.warns(UserWarning, match="k=9: there are 8 training images, so all of them vote"):
        knn.run(tiny_candidate, dataset, knn.Config(k=9, ks=()), 0, bench)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        knn.run(tiny_candidate, dataset, knn.Config(k=8, ks=(20,)), 0, bench)
