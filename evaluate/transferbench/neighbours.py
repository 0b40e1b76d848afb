"""Exact nearest neighbours: proposed in float32 by FAISS or torch, ranked in float64, the same from both."""

import importlib.util
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64

Metric = Literal["cosine", "euclidean"]
Engine = Literal["auto", "faiss", "torch"]
Matrix = Float[np.ndarray, "_ _"]
Found = tuple[Float32[np.ndarray, "m c"], Int64[np.ndarray, "m c"]]
Ranked = tuple[Float64[np.ndarray, "m k"], Int64[np.ndarray, "m k"]]
Indices = Int64[np.ndarray, "_"]

MARGIN = 32
TILE = 2**26
"""How many float32 numbers a work array may hold (256 MB)."""
BLOCK = 4096
"""Queries searched together in float64."""


@dataclass(frozen=True)
class Neighbours:
    """For each query its nearest rows of the bank, nearest first, equally near ones in the order of the bank.

    `values` are cosine similarities or Euclidean distances. There are min(k, n) columns.
    """

    values: Float64[np.ndarray, "m k"]
    indices: Int64[np.ndarray, "m k"]


def search(
    bank: Float[np.ndarray, "n d"],
    queries: Float[np.ndarray, "m d"],
    k: int,
    metric: Metric,
    engine: Engine = "auto",
    device: torch.device | None = None,
) -> Neighbours:
    """The k nearest rows of `bank` for every query. A row of zeros has cosine 0 with everything.

    The engine proposes more rows than asked for. Where float32 rounding could have kept a row of the answer out of the
    proposal (many rows about equally near), that query is searched again in float64; so the answer does not depend on
    the engine.

    Args:
        bank: the rows searched; may be mapped from disk, it is read tile by tile.
        queries: the rows to find neighbours of.
        k: how many neighbours; all rows when it exceeds their number.
        metric: `cosine` or `euclidean`.
        engine: `auto` takes torch on a GPU, else FAISS if it is installed, else torch.
        device: where torch searches; the CPU unless told otherwise.
    """
    k = min(k, len(bank))
    device = device or torch.device("cpu")
    bounds, proposed = _propose(bank, queries, min(k + MARGIN, len(bank)), metric, engine, device)
    values, indices = _rank(bank, queries, proposed, k, metric)
    if proposed.shape[1] < len(bank):
        slack = _error(bank, queries, metric, 2.0**-24)
        unsure = np.flatnonzero(values[:, -1] <= bounds[:, -1] + slack)
        _, first, copies = np.unique(queries[unsure], axis=0, return_index=True, return_inverse=True)
        for start in range(0, len(first), BLOCK):
            block = unsure[first[start : start + BLOCK]]
            exact = _search_exactly(bank, queries[block], values[block, -1], k, metric)
            members = (copies >= start) & (copies < start + BLOCK)
            values[unsure[members]] = exact[0][copies[members] - start]
            indices[unsure[members]] = exact[1][copies[members] - start]
    return Neighbours(values if metric == "cosine" else np.sqrt(-values), indices)


def chosen(engine: Engine, device: torch.device) -> Literal["faiss", "torch"]:
    """The engine that `auto` stands for here; any other name stands for itself."""
    if engine == "auto":
        return "faiss" if device.type == "cpu" and importlib.util.find_spec("faiss") else "torch"
    return engine


def _propose(bank: Matrix, queries: Matrix, count: int, metric: Metric, engine: Engine, device: torch.device) -> Found:
    """The `count` rows of the highest float32 scores (cosine, or minus the squared distance), highest first."""
    asked = _prepared(queries, metric, np.float32)
    rows = max(count, TILE // bank.shape[1])
    values, indices = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(bank), rows):
        tile = _prepared(bank[start : start + rows], metric, np.float32)
        if chosen(engine, device) == "faiss":
            found = _scan_faiss(tile, asked, min(count, len(tile)), metric)
        else:
            found = _scan_torch(tile, asked, min(count, len(tile)), metric, device)
        values = np.concatenate([values, found[0]], 1)
        indices = np.concatenate([indices, found[1] + start], 1)
        order = np.argsort(-values, axis=1)[:, :count]
        values, indices = np.take_along_axis(values, order, 1), np.take_along_axis(indices, order, 1)
    return values, indices


def _scan_faiss(bank: Matrix, queries: Matrix, count: int, metric: Metric) -> Found:
    import faiss

    index = faiss.IndexFlatIP(bank.shape[1]) if metric == "cosine" else faiss.IndexFlatL2(bank.shape[1])
    index.add(bank)  # pyright: ignore[reportCallIssue]
    values, indices = index.search(queries, count)  # pyright: ignore[reportCallIssue]
    return (values if metric == "cosine" else -values), indices


def _scan_torch(bank: Matrix, queries: Matrix, count: int, metric: Metric, device: torch.device) -> Found:
    rows = torch.from_numpy(bank).to(device)
    lengths = rows.square().sum(1)
    values, indices = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    step = max(1, TILE // len(bank))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        asked = torch.from_numpy(queries[part]).to(device)
        scores = asked @ rows.T
        if metric == "euclidean":
            scores.mul_(2).sub_(lengths).sub_(asked.square().sum(1, keepdim=True))
        best = scores.topk(count)
        values[part], indices[part] = best.values.cpu().numpy(), best.indices.cpu().numpy()
    return values, indices


def _search_exactly(bank: Matrix, queries: Matrix, floors: Float64[np.ndarray, "m"], k: int, metric: Metric) -> Ranked:
    """The k nearest of the whole bank, given for each query a score that k rows are known to reach."""
    slack = 2 * _error(bank, queries, metric, 2.0**-53)
    asked = _prepared(queries, metric, np.float64)
    query, index, score = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    step = max(1, TILE // 2 // max(len(queries), bank.shape[1]))
    for start in range(0, len(bank), step):
        tile = _prepared(bank[start : start + step], metric, np.float64)
        rough = asked @ tile.T
        if metric == "euclidean":
            rough = 2 * rough - (tile**2).sum(1) - (asked**2).sum(1, keepdims=True)
        near, position = np.nonzero(rough >= (floors - slack)[:, None])
        query, index = np.concatenate([query, near]), np.concatenate([index, start + position])
        score = np.concatenate([score, _scores(bank, queries, near, start + position, metric)])
        best = _best(query, index, score, k)
        query, index, score = query[best], index[best], score[best]
    return score.reshape(-1, k), index.reshape(-1, k)


def _rank(bank: Matrix, queries: Matrix, proposed: Int64[np.ndarray, "m c"], k: int, metric: Metric) -> Ranked:
    """The best k of the proposed rows of each query."""
    query, index = np.repeat(np.arange(len(queries)), proposed.shape[1]), proposed.ravel()
    score = _scores(bank, queries, query, index, metric)
    best = _best(query, index, score, k)
    return score[best].reshape(-1, k), index[best].reshape(-1, k)


def _best(query: Indices, index: Indices, score: Float64[np.ndarray, "_"], k: int) -> Indices:
    """Positions of each query's k highest scores, by query, then score, then index."""
    order = np.lexsort((index, -score, query))
    group = query[order]
    return order[np.arange(len(order)) - np.searchsorted(group, group) < k]


def _scores(bank: Matrix, queries: Matrix, query: Indices, index: Indices, metric: Metric) -> Float64[np.ndarray, "_"]:
    """Cosine, or minus the squared distance, of pairs in float64; all summed alike, so equal rows score equally."""
    scores = np.empty(len(query))
    step = max(1, TILE // 8 // bank.shape[1])
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        rows, asked = bank[index[part]].astype(np.float64), queries[query[part]].astype(np.float64)
        if metric == "euclidean":
            scores[part] = -((rows - asked) ** 2).sum(1)
        else:
            lengths = np.sqrt((rows**2).sum(1)) * np.sqrt((asked**2).sum(1))
            scores[part] = np.divide((rows * asked).sum(1), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return scores


def _prepared(rows: Matrix, metric: Metric, dtype: type[np.floating]) -> Matrix:
    """Rows as an engine takes them: contiguous and, for the cosine, of length 1 (zeros stay)."""
    if metric == "cosine":
        lengths = _lengths(rows)[:, None]
        rows = np.divide(rows, lengths, out=np.zeros(rows.shape), where=lengths > 0)
    return np.ascontiguousarray(rows, dtype)


def _lengths(rows: Matrix) -> Float64[np.ndarray, "_"]:
    return np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))


def _error(bank: Matrix, queries: Matrix, metric: Metric, unit: float) -> Float64[np.ndarray, "m"]:
    """How far rounding of relative size `unit` can move the score of a row for each query, at most."""
    relative = (bank.shape[1] + 16) * unit
    if metric == "cosine":
        return np.full(len(queries), relative)
    step = max(1, TILE // bank.shape[1])
    longest = max(_lengths(bank[start : start + step]).max() for start in range(0, len(bank), step))
    return relative * (_lengths(queries) + longest) ** 2
