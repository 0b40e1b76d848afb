import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transferbench import neighbors
from transferbench.errors import UserError
from transferbench.neighbors import chosen, exact, proposals, search
from transferbench.neighbors.requirements import require_searchable
from transferbench.neighbors.space import Space

ENGINES = [
    "torch",
    "torch_bf16",
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
    if kind == "quantized":
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
@pytest.mark.parametrize("kind", ["plain", "quantized", "duplicated", "constant", "far from the origin", "zeros"])
def test_neighbors_are_those_of_the_definition(kind, metric, engine, monkeypatch):
    monkeypatch.setattr(proposals, "MARGIN", 3)
    monkeypatch.setattr(neighbors, "MARGIN", 3)
    bank, queries = draw(kind, 150, 20)
    found = search(bank, queries, 7, metric, engine)
    values, indices = literal(bank, queries, 7, metric)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.values, values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["plain", "quantized"])
def test_small_tiles_change_nothing(kind, metric, engine, monkeypatch):
    bank, queries = draw(kind, 300, 41)
    whole = search(bank, queries, 10, metric, engine)
    for room in (proposals, exact):
        monkeypatch.setattr(room, "TILE", 200)
    monkeypatch.setattr(neighbors, "BLOCK", 4)
    tiled = search(bank, queries, 10, metric, engine)
    np.testing.assert_array_equal(tiled.indices, whole.indices)
    np.testing.assert_array_equal(tiled.values, whole.values)


@pytest.mark.skipif(not importlib.util.find_spec("faiss"), reason="faiss is missing")
@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 200), m=st.integers(0, 9), k=st.integers(1, 60), levels=st.integers(1, 4), seed=st.integers(0, 99)
)
def test_all_engines_give_the_same_neighbors(n, m, k, levels, seed):
    rng = np.random.default_rng(seed)
    bank = rng.integers(0, levels, (n, 3)).astype(np.float32) / 3
    queries = rng.integers(0, levels, (m, 3)).astype(np.float32) / 3
    for metric in ("cosine", "euclidean"):
        theirs = search(bank, queries, k, metric, "faiss")
        for engine in ("torch", "torch_bf16"):
            ours = search(bank, queries, k, metric, engine)
            np.testing.assert_array_equal(ours.indices, theirs.indices)
            np.testing.assert_array_equal(ours.values, theirs.values)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("k", [11, 12, 500])
def test_k_up_to_and_beyond_the_bank(k, engine):
    bank, queries = draw("plain", 12, 3)
    found = search(bank, queries, k, "euclidean", engine)
    assert found.indices.shape == (3, min(k, 12))
    np.testing.assert_array_equal(found.indices, literal(bank, queries, min(k, 12), "euclidean")[1])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("metric", METRICS)
def test_all_rows_are_the_neighbors_when_k_is_their_number(metric, engine):
    rows, queries = draw("duplicated", 300, 5, 3)
    found = search(rows, queries, 300, metric, engine)
    np.testing.assert_array_equal(found.indices, literal(rows, queries, 300, metric)[1])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_one_error_that_counts_the_images_of_each_split(odd, metric, engine):
    bank, queries = draw("plain", 30, 6)
    bank[[4, 7], 2] = odd
    with pytest.raises(UserError, match=r"2 of 30 training images, the first of them number 4, counted from 0\. Exp"):
        search(bank, queries, 5, metric, engine)
    queries[5] = odd
    with pytest.raises(UserError, match=r"2 of 30 training images.*; 1 of 6 test images.* number 5"):
        search(bank, queries, 5, metric, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("bank", "k", "reason"),
    [
        (np.ones((4, 3), np.float32), 0, "asked for 0 neighbors"),
        (np.ones((0, 3), np.float32), 1, "0 training images"),
        (np.full((4, 3), 1e-50), 1, "leave float32's range: 4 of 4 training images"),
    ],
    ids=["k", "empty", "too small"],
)
def test_what_no_engine_can_search_is_said_alike(bank, k, reason, engine):
    with pytest.raises(UserError, match=reason):
        search(bank, np.ones((2, 3), np.float32), k, "euclidean", engine)


def test_rows_of_two_widths_are_refused():
    with pytest.raises(UserError, match="2 features each for test images with 3"):
        require_searchable(np.ones((4, 2)), np.ones((2, 3)), 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_smallest_numbers_are_ranked(engine):
    bank, queries = (x * np.float32(1e-42) for x in draw("plain", 40, 5))
    found = search(bank, queries, 4, "euclidean", engine)
    np.testing.assert_array_equal(found.indices, literal(bank, queries, 4, "euclidean")[1])


def test_more_rows_than_faiss_gives_are_found_by_torch(monkeypatch):
    monkeypatch.setitem(proposals.FAISS_MOST, "cpu", 35)
    monkeypatch.setattr(proposals, "_scan_faiss", None)
    monkeypatch.setattr(neighbors, "chosen", lambda engine, device: "faiss")
    bank, queries = draw("plain", 60, 3)
    np.testing.assert_array_equal(search(bank, queries, 5, "cosine").indices, literal(bank, queries, 5, "cosine")[1])


@pytest.mark.parametrize("metric", METRICS)
def test_neighbors_that_bfloat16_cannot_tell_apart_are_told_apart(metric):
    rng = np.random.default_rng(3)
    centers = rng.normal(size=(6, 32))
    bank = (centers[rng.integers(0, 6, 2000)] + 1e-3 * rng.normal(size=(2000, 32))).astype(np.float32)
    queries = (centers[rng.integers(0, 6, 10)] + 1e-3 * rng.normal(size=(10, 32))).astype(np.float32)
    found = search(bank, queries, 9, metric, "torch_bf16")
    values, indices = literal(bank, queries, 9, metric)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.values, values, rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scan", ["torch", "torch_bf16"])
@pytest.mark.parametrize("kind", ["plain", "quantized", "far from the origin"])
def test_a_computed_level_is_within_its_error_and_what_is_left_out_below_its_ceiling(kind, scan, metric):
    bank, queries = draw(kind, 1000, 15, 48)
    space = Space.around(bank, metric)
    found = proposals.propose(space, bank, queries, 10, scan, torch.device("cpu"))
    if metric == "cosine":
        unit, asked = (
            x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank.astype(float), queries.astype(float))
        )
        scores = asked @ unit.T
    else:
        scores = -((queries[:, None].astype(np.float64) - bank) ** 2).sum(2)
    levels = np.stack([space.levels(column, queries) for column in scores.T], 1)
    if kind != "far from the origin":
        assert len(found.query) > 10 * len(queries)
        assert (found.errors < 0.05 * (levels.max(1) - levels.min(1))).all()
    guesses = found.ceilings - found.errors if scan == "torch_bf16" else np.zeros(len(queries))
    computed = found.levels + guesses[found.query]
    allowed = found.errors[found.query] + found.relative * np.abs(found.levels)
    assert (np.abs(levels[found.query, found.index] - computed) <= allowed).all()
    levels[found.query, found.index] = -np.inf
    assert (levels <= found.ceilings[:, None]).all()


def test_what_a_bfloat16_result_loses_is_allowed_for():
    rng = np.random.default_rng(0)
    bank, queries = (rng.integers(-9, 9, (n, 64)).astype(np.float32) for n in (2000, 20))
    space = Space("euclidean", np.zeros(64, np.float32), 1.0)
    found = proposals.propose(space, bank, queries, 30, "torch_bf16", torch.device("cpu"))
    levels = queries @ bank.T - (bank**2).sum(1) / 2
    off = np.abs(levels[found.query, found.index] - found.levels - (found.ceilings - found.errors)[found.query])
    assert found.errors.max() < 0.2 < off.max()
    assert (off <= found.errors[found.query] + found.relative * np.abs(found.levels)).all()


def test_the_guess_leaves_few_rows_and_seldom_too_few():
    bank, queries = draw("plain", 20000, 300, 16)
    found = proposals.propose(Space.around(bank, "cosine"), bank, queries, 20, "torch_bf16", torch.device("cpu"))
    counts = np.bincount(found.query, minlength=300)
    assert (counts < 20).mean() < 0.02
    assert counts.mean() < 10 * 20


def test_a_crowd_above_the_guess_is_left_to_another_scan(monkeypatch):
    monkeypatch.setattr(proposals, "CROWD", 1)
    monkeypatch.setattr(proposals, "TILE", 4000)
    bank, queries = draw("plain", 3000, 20)
    bank[1::3] = bank[0]
    space = Space.around(bank, "euclidean")
    found = proposals.propose(space, bank, queries, 2, "torch_bf16", torch.device("cpu"))
    assert np.isinf(found.ceilings).any()
    assert np.bincount(found.query).max() <= 2 + proposals.MARGIN
    exact = literal(bank, queries, 2, "euclidean")[1]
    np.testing.assert_array_equal(search(bank, queries, 2, "euclidean", "torch_bf16").indices, exact)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_features_whose_squares_leave_the_range_of_float32(size, engine):
    bank, queries = draw("plain", 600, 9)
    for metric in METRICS:
        found = search(bank * np.float32(size), queries * np.float32(size), 4, metric, engine)
        expected = literal(bank * np.float32(size), queries * np.float32(size), 4, metric)
        np.testing.assert_array_equal(found.indices, expected[1])


def test_the_environment_says_what_auto_is(monkeypatch):
    monkeypatch.setenv("TRANSFERBENCH_KNN", "torch")
    assert chosen("auto", torch.device("cpu")) == "torch"
    assert chosen("torch_bf16", torch.device("cpu")) == "torch_bf16"
    monkeypatch.setenv("TRANSFERBENCH_KNN", "torhc")
    with pytest.raises(UserError, match="Did you mean 'torch'"):
        chosen("auto", torch.device("cpu"))


def test_faiss_searches_where_the_device_is(monkeypatch):
    faiss = pytest.importorskip("faiss")
    built = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    for name in ("GpuIndexFlatConfig", "StandardGpuResources"):
        monkeypatch.setattr(faiss, name, SimpleNamespace, raising=False)
    monkeypatch.setattr(
        faiss, "GpuIndexFlatIP", lambda *given: built.append(given) or faiss.IndexFlatIP(given[1]), False
    )
    index = proposals._faiss_index(8, torch.device("cuda", 1))
    assert (index.d, built[0][1], built[0][2].device) == (8, 8, 1)
    assert isinstance(proposals._faiss_index(8, torch.device("cpu")), faiss.IndexFlatIP)
    assert len(built) == 1
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(UserError, match="GPU wheel"):
        proposals._faiss_index(8, torch.device("cuda"))


def test_auto_takes_what_is_fastest_here(monkeypatch):
    monkeypatch.delenv("TRANSFERBENCH_KNN", raising=False)
    monkeypatch.setattr(neighbors, "fast_precision", lambda device: "bfloat16")
    assert chosen("auto", torch.device("cpu")) == chosen("auto", torch.device("cuda")) == "torch_bf16"
    monkeypatch.setattr(neighbors, "fast_precision", lambda device: "float32")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "here")
    assert chosen("auto", torch.device("cpu")) == "faiss"
    assert chosen("auto", torch.device("cuda")) == "torch"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert chosen("auto", torch.device("cpu")) == "torch"
