import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transferbench import neighbours
from transferbench.neighbours import chosen, search

ENGINES = [
    "torch",
    pytest.param("faiss", marks=pytest.mark.skipif(not importlib.util.find_spec("faiss"), reason="faiss is missing")),
]
METRICS = ["cosine", "euclidean"]


def literal(bank, queries, k, metric):
    """Values and indices by the definition, one pair at a time, in float64."""
    values, indices = [], []
    for query in queries.astype(np.float64):
        scored = []
        for i, row in enumerate(bank.astype(np.float64)):
            if metric == "euclidean":
                scored.append((np.sqrt(((row - query) ** 2).sum()), i))
            else:
                length = np.sqrt((row**2).sum()) * np.sqrt((query**2).sum())
                scored.append((-(row * query).sum() / length if length else 0.0, i))
        scored.sort()
        values.append([abs(v) if metric == "euclidean" else -v for v, _ in scored[:k]])
        indices.append([i for _, i in scored[:k]])
    return np.array(values), np.array(indices)


def draw(kind: str, n: int, m: int, d: int = 8):
    rng = np.random.default_rng(n)
    bank, queries = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    if kind == "quantised":
        bank, queries = np.round(bank), np.round(queries)
    if kind == "duplicated":
        bank[n // 2 :] = bank[: n - n // 2]
        queries = bank[rng.integers(0, n, m)]
    if kind == "constant":
        bank[:], queries[:] = bank[0], bank[0]
    if kind == "far from the origin":
        bank, queries = bank + 3000, queries + 3000
    if kind == "zeros":
        bank[::2] = 0
        queries[::3] = 0
    return bank.astype(np.float32), queries.astype(np.float32)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["plain", "quantised", "duplicated", "constant", "far from the origin", "zeros"])
def test_neighbours_are_those_of_the_definition(kind, metric, engine, monkeypatch):
    monkeypatch.setattr(neighbours, "MARGIN", 3)
    bank, queries = draw(kind, 150, 20)
    found = search(bank, queries, 7, metric, engine)
    values, indices = literal(bank, queries, 7, metric)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.values, values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["plain", "quantised"])
def test_small_tiles_change_nothing(kind, metric, engine, monkeypatch):
    bank, queries = draw(kind, 300, 41)
    whole = search(bank, queries, 10, metric, engine)
    monkeypatch.setattr(neighbours, "TILE", 200)
    monkeypatch.setattr(neighbours, "BLOCK", 4)
    tiled = search(bank, queries, 10, metric, engine)
    np.testing.assert_array_equal(tiled.indices, whole.indices)
    np.testing.assert_array_equal(tiled.values, whole.values)


@pytest.mark.skipif(not importlib.util.find_spec("faiss"), reason="faiss is missing")
@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 200), m=st.integers(0, 9), k=st.integers(1, 60), levels=st.integers(1, 4), seed=st.integers(0, 99)
)
def test_both_engines_give_the_same_neighbours(n, m, k, levels, seed):
    rng = np.random.default_rng(seed)
    bank = rng.integers(0, levels, (n, 3)).astype(np.float32) / 3
    queries = rng.integers(0, levels, (m, 3)).astype(np.float32) / 3
    for metric in ("cosine", "euclidean"):
        ours, theirs = search(bank, queries, k, metric, "torch"), search(bank, queries, k, metric, "faiss")
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        np.testing.assert_array_equal(ours.values, theirs.values)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("k", [11, 12, 500])
def test_k_up_to_and_beyond_the_bank(k, engine):
    bank, queries = draw("plain", 12, 3)
    found = search(bank, queries, k, "euclidean", engine)
    assert found.indices.shape == (3, min(k, 12))
    np.testing.assert_array_equal(found.indices, literal(bank, queries, min(k, 12), "euclidean")[1])


def test_auto_prefers_torch_on_a_gpu(monkeypatch):
    assert chosen("auto", torch.device("cuda")) == "torch"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert chosen("auto", torch.device("cpu")) == "torch"
