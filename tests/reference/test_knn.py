"""k-NN against published numbers, and against each preset's definition written out in float64."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from transferbench.features.extraction import FeatureSet
from transferbench.neighbors import search
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, knn
from transferbench.tasks.knn import vote

GOLDEN = Path(__file__).parent / "golden"
# From index_eval.json: INTL's 5-NN on features quantized so that ties occur.
PUBLISHED = {"a": 0.926, "b": 0.910}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
@pytest.mark.parametrize("engine", ["torch", "torch_bf16", "faiss", "auto"])
def test_five_nearest_neighbors_score_as_the_published_code(name: str, engine):
    if engine == "faiss":
        pytest.importorskip("faiss")
    given = np.load(GOLDEN / f"features_{name}.npz")
    found = search(given["train"], given["test"], 5, "euclidean", engine)
    labels = given["train_labels"][found.indices]
    predicted = vote(labels, np.ones(labels.shape), int(given["train_labels"].max()) + 1)
    assert round(float((predicted == given["test_labels"]).mean()), 6) == PUBLISHED[name]


def test_majority_vote_by_counting_ties_to_the_smallest_label():
    labels = np.random.default_rng(0).integers(0, 4, (500, 6))
    expected = []
    for row in labels.tolist():
        counts = Counter(row)
        expected.append(min(label for label, count in counts.items() if count == max(counts.values())))
    assert vote(labels, np.ones(labels.shape), 9).tolist() == expected


def test_weighted_vote_by_summing_the_weights():
    rng = np.random.default_rng(1)
    labels, similarities = rng.integers(0, 5, (300, 20)), rng.uniform(-1, 1, (300, 20))
    weights = np.exp(similarities / 0.07)
    expected = [
        max(range(5), key=lambda c: sum(w for w, label in zip(ws, row, strict=True) if label == c))
        for ws, row in zip(weights.tolist(), labels.tolist(), strict=True)
    ]
    assert vote(labels, weights, 5).tolist() == expected
    scaled = np.exp((similarities - similarities.max(1, keepdims=True)) / 0.07)
    assert vote(labels, scaled, 5).tolist() == expected


def test_vote_of_many_rows_equals_vote_of_each():
    labels = np.random.default_rng(2).integers(0, 3, (9000, 4))
    ones = np.ones(labels.shape)
    whole = vote(labels, ones, 3)
    assert [int(vote(labels[i : i + 1], ones[i : i + 1], 3)[0]) for i in (0, 4095, 4096, 8999)] == [
        int(whole[i]) for i in (0, 4095, 4096, 8999)
    ]


class Given(Bench):
    """A bench where the features of a split are given: many near each other, half of them there twice."""

    def features(self, candidate, images, asked) -> FeatureSet:
        rng = np.random.default_rng([7, images.split == "train"])
        centers = np.random.default_rng(0).normal(size=(len(images.info.classes), 5))
        found = np.maximum(centers[images.labels] + 1.5 * rng.normal(size=(len(images), 5)), 0).round(1)
        found[len(found) // 2 :] = found[: len(found) - len(found) // 2]
        return FeatureSet(found.astype(np.float32), images.labels)


def by_definition(train: FeatureSet, test: FeatureSet, k: int, temperature: float | None) -> list[int]:
    """One query at a time: sort all training rows, then count votes, or sum exp(cosine / temperature)."""
    predictions = []
    for query in test.features.astype(np.float64):
        scored = []
        for i, row in enumerate(train.features.astype(np.float64)):
            length = math.sqrt((row * row).sum()) * math.sqrt((query * query).sum())
            cosine = (row * query).sum() / length if length else 0.0
            scored.append((-cosine if temperature else ((row - query) ** 2).sum(), i))
        votes: dict[int, float] = {}
        for score, i in sorted(scored)[:k]:
            label = int(train.labels[i])
            votes[label] = votes.get(label, 0.0) + (math.exp(-score / temperature) if temperature else 1.0)
        predictions.append(min(votes, key=lambda label: (-votes[label], label)))
    return predictions


# As published: neighbors of every score, temperature; none for the majority of Euclidean neighbors.
PRESETS = {
    "wmse5": ((5,), None),
    "instdisc": ((200,), 0.1),
    "simsiam": ((200,), 0.2),
    "dino": ((10, 20, 100, 200), 0.07),
}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("n", [331, 90])
def test_a_preset_predicts_by_its_definition(name: str, n: int, tiny_candidate, tiny_images, tmp_path):
    test = tiny_images(70, classes=7, split="test")
    test = test.subset(np.flatnonzero(test.labels != 3), "a class without test images")
    dataset, bench = Dataset(tiny_images(n, classes=7), test), Given(Runtime(torch.device("cpu")), tmp_path, tmp_path)
    outcome = knn.run(tiny_candidate, dataset, knn.Config(preset=name), 0, bench)
    kept = np.load(outcome.artifacts["predictions"])
    ks, temperature = PRESETS[name]
    for k in ks:
        train, shown = (bench.features(tiny_candidate, split, "float32") for split in (dataset.train, test))
        expected = by_definition(train, shown, k, temperature)
        assert kept[f"k{min(k, n)}"].tolist() == expected
        by_name = {score.metric: score.value for score in outcome.scores}
        assert by_name[f"top1@{min(k, n)}"] == pytest.approx(100 * np.mean(expected == test.labels))
        assert len(set(expected)) > 3
