from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from transferbench.neighbours import search
from transferbench.tasks.knn import vote

GOLDEN = Path(__file__).parent / "golden"
# From index_eval.json: INTL's 5-NN on features quantised so that ties occur.
PUBLISHED = {"a": 0.926, "b": 0.910}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
@pytest.mark.parametrize("engine", ["torch", "torch_bf16", "faiss", "auto"])
def test_five_nearest_neighbours_score_as_the_published_code(name: str, engine):
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
