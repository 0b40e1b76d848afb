"""Scores in float64, all summed alike, and what they say of proposed rows or of a whole bank."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from transferbench import stopping
from transferbench.neighbors.proposals import TILE, Proposal
from transferbench.neighbors.space import Matrix, Metric, Space

Ranked = tuple[Float64[np.ndarray, "m k"], Int64[np.ndarray, "m k"]]
Indices = Int64[np.ndarray, "_"]
Scores = Float64[np.ndarray, "_"]


@dataclass(frozen=True)
class Exact:
    """A bank and queries whose pairs are scored in float64: cosine, or minus the squared distance.

    Equal rows score equally, wherever they stand.
    """

    bank: Matrix
    queries: Matrix
    metric: Metric
    bank_lengths: Scores
    query_lengths: Scores

    @classmethod
    def over(cls, bank: Matrix, queries: Matrix, metric: Metric) -> "Exact":
        """The pairs of a bank and queries."""
        return cls(bank, queries, metric, _lengths(bank), _lengths(queries))

    def of(self, some: Indices) -> "Exact":
        """The same for some of the queries."""
        return replace(self, queries=self.queries[some], query_lengths=self.query_lengths[some])

    def rank(self, space: Space, proposal: Proposal, k: int) -> tuple[Ranked, Bool[np.ndarray, "m"]]:
        """The best k of the proposed rows of each query, and whether they are sure to be the best of the whole bank.

        Scored are those that could be among the k best by their computed levels and how exact these are. A query with
        fewer than k rows has no answer and is not sure.
        """
        m = len(self.queries)
        counts = np.bincount(proposal.query, minlength=m)
        enough = counts >= k
        order = _by_query_then_level(proposal)
        worst = proposal.levels[order[(np.cumsum(counts) - counts)[enough] + k - 1]].astype(np.float64)
        least = np.full(m, np.inf)
        least[enough] = worst - proposal.relative * np.abs(worst) - 2 * proposal.errors[enough]
        kept = proposal.levels + proposal.relative * np.abs(proposal.levels) >= least[proposal.query]
        query, index = proposal.query[kept], proposal.index[kept]
        score = self._scores(query, index)
        best = _best(query, index, score, k)
        values, indices = np.full((m, k), -np.inf), np.zeros((m, k), np.int64)
        values[enough], indices[enough] = score[best].reshape(-1, k), index[best].reshape(-1, k)
        return (values, indices), enough & (space.levels(values[:, -1], self.queries) > proposal.ceilings)

    def search(self, floors: Float64[np.ndarray, "m"], k: int) -> Ranked:
        """The k nearest of the whole bank, given for each query a score that k rows are known to reach."""
        slack, asked = self._slack(), _prepared(self.queries, self.metric)
        query, index, score = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        step = max(1, TILE // max(len(asked), self.bank.shape[1]))
        for start in range(0, len(self.bank), step):
            stopping.check()
            tile = _prepared(self.bank[start : start + step], self.metric)
            rough = asked @ tile.T
            if self.metric == "euclidean":
                rough = 2 * rough - (tile**2).sum(1) - (asked**2).sum(1, keepdims=True)
            near, position = np.nonzero(rough >= (floors - slack)[:, None])
            query, index = np.concatenate([query, near]), np.concatenate([index, start + position])
            score = np.concatenate([score, self._scores(near, start + position)])
            best = _best(query, index, score, k)
            query, index, score = query[best], index[best], score[best]
        return score.reshape(-1, k), index.reshape(-1, k)

    def _scores(self, query: Indices, index: Indices) -> Scores:
        """Scores of pairs."""
        scores = np.empty(len(query))
        step = max(1, TILE // 8 // self.bank.shape[1])
        for start in range(0, len(query), step):
            part = slice(start, start + step)
            exact, asked = self.bank[index[part]].astype(np.float64), self.queries[query[part]]
            if self.metric == "euclidean":
                exact -= asked
                scores[part] = -np.square(exact, out=exact).sum(1)
            else:
                exact *= asked
                scores[part] = exact.sum(1)
        if self.metric == "euclidean":
            return scores
        lengths = self.bank_lengths[index] * self.query_lengths[query]
        return np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)

    def _slack(self) -> Scores:
        """Twice what rounding can move a score by, at most."""
        relative = 2 * (self.bank.shape[1] + 16) * 2.0**-53
        if self.metric == "cosine":
            return np.full(len(self.queries), relative)
        return relative * (self.query_lengths + self.bank_lengths.max()) ** 2


def _by_query_then_level(proposal: Proposal) -> Indices:
    """Positions of the pairs, by query, and of one query the highest level first; one sort of whole numbers."""
    bits = proposal.levels.view(np.int32).astype(np.int64)
    rising = np.where(bits < 0, -(2**31) - bits - 1, bits)
    return np.argsort((proposal.query << 32) - rising)


def _best(query: Indices, index: Indices, score: Scores, k: int) -> Indices:
    """Positions of each query's k highest scores, by query, then score, then index."""
    order = np.lexsort((index, -score, query))
    group = query[order]
    return order[np.arange(len(order)) - np.searchsorted(group, group) < k]


def _prepared(rows: Matrix, metric: Metric) -> Float64[np.ndarray, "_ _"]:
    """Rows in float64 and, for the cosine, of length 1 (zeros stay)."""
    exact = rows.astype(np.float64)
    if metric == "cosine":
        lengths = _lengths(rows)[:, None]
        np.divide(exact, lengths, out=exact, where=lengths > 0)
    return exact


def _lengths(rows: Matrix) -> Scores:
    step, lengths = max(1, TILE // 8 // rows.shape[1]), np.empty(len(rows))
    for start in range(0, len(rows), step):
        exact = rows[start : start + step].astype(np.float64)
        lengths[start : start + step] = np.sqrt(np.square(exact, out=exact).sum(1))
    return lengths
