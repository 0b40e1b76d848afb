"""Exact nearest neighbors: proposed by FAISS or torch and ranked in float64, so the result is the same from either.

Why they are exact: docs/protocols.md#exact-search.
"""

import importlib.util
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64

from transferbench import stopping
from transferbench.errors import UserError, unknown
from transferbench.neighbors import proposals
from transferbench.neighbors.coding import Scan
from transferbench.neighbors.exact import Exact, Ranked
from transferbench.neighbors.proposals import MARGIN, propose
from transferbench.neighbors.requirements import capped, require_searchable
from transferbench.neighbors.space import SAMPLE, Matrix, Metric, Space
from transferbench.runtime import fast_precision, knn_engine

__all__ = ["Engine", "Matrix", "Metric", "Neighbors", "capped", "chosen", "memory", "search"]

Engine = Literal["auto", "faiss", "torch", "torch_bf16"]

BLOCK = 4096
"""Queries searched together in float64."""
TOGETHER = 2**26
"""How many numbers the queries searched together may be."""


@dataclass(frozen=True)
class Neighbors:
    """For each query its nearest rows of the bank, nearest first, ties in the order of the bank.

    `values` are cosine similarities or Euclidean distances. There are `capped(k, n)` columns.
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
) -> Neighbors:
    """The k nearest rows of `bank` for every query. A row of zeros has cosine 0 with everything.

    The engine proposes more rows than asked for. Where rounding could have kept a row of the answer out of the
    proposal (many near ties), that query is searched again in float32 and at last in float64; so the
    answer does not depend on the engine.

    Args:
        bank: the rows searched; may be mapped from disk, it is read tile by tile.
        queries: the rows to find neighbors of.
        k: how many neighbors; `capped` says what holds when it exceeds their number.
        metric: `cosine` or `euclidean`.
        engine: `auto` takes the one that is fastest here.
        device: where torch searches; the CPU unless told otherwise.

    Raises:
        UserError: for rows that no engine can rank, as `require_searchable` says, and an engine that is not here.
    """
    require_searchable(bank, queries, k)
    k, device = capped(k, len(bank)), device or torch.device("cpu")
    scans = _scans(chosen(engine, device), len(bank), k)
    space, everything = Space.around(bank, metric), Exact.over(bank, queries, metric)
    step = _queries_at_once(bank.shape[1], k)
    values, indices = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), step):
        stopping.check()
        part = np.arange(start, min(len(queries), start + step))
        values[part], indices[part] = _search(space, everything.of(part), k, scans, device)
    return Neighbors(values if metric == "cosine" else np.sqrt(-values), indices)


def memory(n: int, m: int, d: int, k: int) -> int:
    """Bytes that a search on the CPU for the k nearest of n rows to m queries needs at most, besides both themselves.

    Its answer and the lengths of all vectors; work arrays of fixed size; and for the queries treated together, copies
    and the pairs proposed for them. What a bank mapped from disk occupies is the system's to give and take.
    """
    k = capped(k, n)
    together = min(m, _queries_at_once(d, k))
    answer = 2 * 8 * (m + together) * k + 8 * (n + m)
    tiles = 40 * max(proposals.TILE, d * (k + MARGIN)) + 24 * d * min(n, SAMPLE)
    return answer + tiles + together * (30 * d + 4 * 100 * (k + MARGIN))


def chosen(engine: Engine, device: torch.device) -> Scan:
    """The engine that `auto` stands for here; any other name stands for itself.

    It is the one that the environment asks for, if it does, else the fastest by `benchmarks/knn.py`: torch in bfloat16
    where the device has instructions for it; else torch on a GPU, and on a CPU FAISS if it is installed.

    Raises:
        UserError: when the environment asks for an engine that there is not, or FAISS is not installed.
    """
    asked = knn_engine() if engine == "auto" else engine
    if asked not in get_args(Engine):
        raise unknown("k-NN engine", asked, get_args(Engine))
    has_faiss = bool(importlib.util.find_spec("faiss"))
    if asked == "faiss" and not has_faiss:
        raise UserError("The k-NN engine faiss needs FAISS. Install faiss-cpu, or leave the engine to `auto`.")
    if asked != "auto":
        return cast(Scan, asked)
    if fast_precision(device) == "bfloat16":
        return "torch_bf16"
    return "faiss" if device.type == "cpu" and has_faiss else "torch"


def _search(space: Space, asked: Exact, k: int, scans: tuple[Scan, ...], device: torch.device) -> Ranked:
    """The best k by scan after scan, each for the queries that the one before was not sure of, at last by all pairs."""
    values, indices = np.empty((len(asked.queries), k)), np.empty((len(asked.queries), k), np.int64)
    unsure = np.arange(len(asked.queries))
    for scan in scans:
        if len(unsure):
            some = asked.of(unsure)
            proposal = propose(space, asked.bank, some.queries, k, scan, device)
            (values[unsure], indices[unsure]), sure = some.rank(space, proposal, k)
            unsure = unsure[~sure]
    _, first, copies = np.unique(asked.queries[unsure], axis=0, return_index=True, return_inverse=True)
    for start in range(0, len(first), BLOCK):
        block = unsure[first[start : start + BLOCK]]
        exact = asked.of(block).search(values[block, -1], k)
        members = (copies >= start) & (copies < start + BLOCK)
        values[unsure[members]] = exact[0][copies[members] - start]
        indices[unsure[members]] = exact[1][copies[members] - start]
    return values, indices


def _scans(first: Scan, n: int, k: int) -> tuple[Scan, ...]:
    """The scans that a query goes through until one is sure of it. Guessing does not pay in a small bank."""
    if first == "torch_bf16":
        return ("torch",) if n < 8 * (k + MARGIN) else ("torch_bf16", "torch")
    return (first,)


def _queries_at_once(d: int, k: int) -> int:
    """How many queries are searched for together: their copies and their pairs fill fixed room."""
    return max(1, min(TOGETHER // d, TOGETHER // 16 // (k + MARGIN)))
