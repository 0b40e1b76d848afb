"""Which rows could be the nearest ones: found in float32 or bfloat16, with a proof about those left out."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from transferbench import stopping
from transferbench.errors import UserError
from transferbench.neighbors import coding
from transferbench.neighbors.coding import Asked, Lost, Scan, coded
from transferbench.neighbors.space import Matrix, Space, sample

Pairs = tuple[Int64[np.ndarray, "p"], Int64[np.ndarray, "p"], Float32[np.ndarray, "p"]]
"""Queries, rows and computed levels, one entry a pair."""

TILE = 2**22
"""How many numbers a work array may hold."""
MARGIN = 32
"""How many rows more than asked for are proposed."""
FAISS_MOST = {"cpu": 2**31, "cuda": 2048}
"""How many rows FAISS gives for a query at most, by kind of device; where more are wanted torch finds them."""
CROWD = 64
"""A query with more than so many times the rows expected above its guess is left to another scan."""


@dataclass(frozen=True)
class Proposal:
    """Rows that could be nearest, as (query, row) pairs in the order of the queries; not equally many for each.

    `levels` are within `errors` of the true ones, once `relative` of themselves is added or
    taken off. No row left out has a level above its query's `ceilings`.
    """

    query: Int64[np.ndarray, "p"]
    index: Int64[np.ndarray, "p"]
    levels: Float32[np.ndarray, "p"]
    relative: float
    errors: Float64[np.ndarray, "m"]
    ceilings: Float64[np.ndarray, "m"]


def propose(space: Space, bank: Matrix, queries: Matrix, k: int, scan: Scan, device: torch.device) -> Proposal:
    """The rows with the highest levels as this scan computes them, some more than k for each query.

    In float32 those are the `k + MARGIN` best. In bfloat16 those above a guess of the level that few rows exceed: the
    guess is taken off within the sum, so that a result near it, rounded to 2^-8 of itself, is still exact enough, and
    the sign alone selects. Then a query can have fewer than k rows.
    """
    asked = coding.asked(space.queries(queries, device), scan)
    if scan == "torch_bf16":
        asked = _guessed(space, bank, asked, k, device)
    lost, pairs = Lost(), []
    totals = np.zeros(len(queries), np.int64)
    step = max(k + MARGIN, TILE // bank.shape[1])
    for start in range(0, len(bank), step):
        stopping.check()
        rows, biases = space.rows(bank[start : start + step], device)
        tile = coded(rows, biases, scan)
        lost.cover(rows, biases, tile)
        if scan == "torch_bf16":
            pairs.append(_above(asked.coded, tile, start, totals, CROWD * (k + MARGIN)))
        else:
            pairs = [_best(asked.coded, tile, start, pairs, k + MARGIN, scan)]
    query, index, levels = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    errors, guesses = lost.errors(asked, space.unit), asked.guesses.double().cpu().numpy()
    if scan == "torch_bf16":
        order = np.argsort(query, kind="stable")
        ceilings = np.where(totals > CROWD * (k + MARGIN), np.inf, guesses + errors)
        return Proposal(query[order], index[order], levels[order], 2.0**-8, errors, ceilings)
    least = levels.reshape(len(queries), -1)[:, -1]
    ceilings = np.full(len(queries), -np.inf) if k + MARGIN >= len(bank) else least + errors
    return Proposal(query, index, levels, 0.0, errors, ceilings)


def _guessed(space: Space, bank: Matrix, asked: Asked, k: int, device: torch.device) -> Asked:
    """The queries with a guess of a level that rather more than k rows exceed, by a sample of the bank.

    Of s rows drawn from n about x = k s / n are among the k nearest, give or take the root of x.
    """
    few = sample(bank)
    share = k * len(few) / len(bank)
    rank = min(len(few), math.ceil(share + 3 * math.sqrt(share) + 3))
    tile = coded(*space.rows(few, device), "torch_bf16")
    step = max(1, TILE // len(tile))
    guesses = [_product(part, tile).topk(rank).values[:, -1].float() for part in asked.coded.split(step)]
    return asked.guessing(torch.cat(guesses))


def _product(asked: Float[Tensor, "m e"], tile: Float[Tensor, "n e"]) -> Float[Tensor, "m n"]:
    if asked.dtype == torch.bfloat16 and asked.is_cuda:
        return torch.mm(asked, tile.T, out_dtype=torch.float32)
    return asked @ tile.T


def _above(
    asked: Float[Tensor, "m e"], tile: Float[Tensor, "n e"], start: int, totals: Int64[np.ndarray, "m"], most: int
) -> Pairs:
    """Pairs with a positive product, counted in `totals`; none of a query that has more than `most` by then."""
    rows, step = [], max(1, TILE // len(tile))
    for first in range(0, len(asked), step):
        products = _product(asked[first : first + step], tile)
        flat = _positive(products)
        query, row = np.divmod(flat, len(tile))
        counts = totals[first : first + step]
        counts += np.bincount(query, minlength=len(products))
        if counts.max() > most:
            kept = counts[query] <= most
            flat, query, row = flat[kept], query[kept], row[kept]
        levels = products.flatten()[torch.from_numpy(flat).to(products.device)].float().cpu().numpy()
        rows.append((query + first, row + start, levels))
    queries, indices, levels = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return queries, indices, levels


def _positive(products: Float[Tensor, "m n"]) -> Int64[np.ndarray, "p"]:
    """Flat positions of positive numbers. A bfloat16 number is one if its bits are, read as an integer."""
    if products.is_cuda:
        return (products > 0).flatten().nonzero()[:, 0].cpu().numpy()
    return np.flatnonzero(products.view(torch.int16).numpy() > 0)


def _best(
    asked: Float[Tensor, "m e"], tile: Float[Tensor, "n e"], start: int, before: list[Pairs], count: int, scan: Scan
) -> Pairs:
    """The `count` best pairs of each query in this tile and before, best first."""
    wanted = min(count, len(tile))
    by_faiss = scan == "faiss" and wanted <= FAISS_MOST[tile.device.type]
    values, indices = (_scan_faiss if by_faiss else _scan_torch)(asked, tile, wanted)
    indices += start
    if before:
        values = np.concatenate([before[0][2].reshape(len(asked), -1), values], 1)
        indices = np.concatenate([before[0][1].reshape(len(asked), -1), indices], 1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :count]
        values, indices = np.take_along_axis(values, order, 1), np.take_along_axis(indices, order, 1)
    return np.repeat(np.arange(len(asked)), indices.shape[1]), indices.ravel(), values.ravel()


def _scan_faiss(asked: Tensor, tile: Tensor, count: int) -> tuple[Float32[np.ndarray, "m c"], Int64[np.ndarray, "m c"]]:
    index = _faiss_index(tile.shape[1], tile.device)
    index.add(tile.cpu().numpy())
    return index.search(asked.cpu().numpy(), count)


def _faiss_index(d: int, device: torch.device) -> Any:
    """An empty exact index of FAISS's, where the device is."""
    import faiss

    if device.type == "cpu":
        return faiss.IndexFlatIP(d)
    if not faiss.get_num_gpus():
        raise UserError(
            "FAISS sees no GPU. Install its GPU wheel (the extra faiss-gpu), or leave the engine to `auto`."
        )
    gpu: Any = faiss
    config = gpu.GpuIndexFlatConfig()
    config.device = device.index or 0
    return gpu.GpuIndexFlatIP(gpu.StandardGpuResources(), d, config)


def _scan_torch(asked: Tensor, tile: Tensor, count: int) -> tuple[Float32[np.ndarray, "m c"], Int64[np.ndarray, "m c"]]:
    parts = [_product(part, tile).topk(count) for part in asked.split(max(1, TILE // len(tile)))]
    values, indices = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return values, indices
