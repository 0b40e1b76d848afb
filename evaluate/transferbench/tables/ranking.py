"""Who is ahead: ranks over columns, and paired tests of a column's best against its second."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from transferbench.intervals import mcnemar
from transferbench.records import Record
from transferbench.tables.board import Cell, Column, Leaderboard, Ranking, Row

LEVEL = 0.05
"""Of p below which the best is called better than the second."""
SEEDS = 3
"""How many runs of each a test over seeds needs."""
Hits = Callable[[Record], Bool[np.ndarray, "n"] | None]
"""Which test images a record's result got right, where that was kept."""


def ranked(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """The rows with their rankings among each other."""
    return [replace(row, ranking=_ranking(row, rows, columns)) for row in rows]


def _ranking(row: Row, rows: Sequence[Row], columns: Sequence[Column]) -> Ranking | None:
    ranks: list[float] = []
    beaten = rivals = 0.0
    for column in columns:
        if column not in row.cells:
            continue
        others = [other.cells[column].mean for other in rows if column in other.cells and other is not row]
        sign, own = 1 if column.higher_is_better else -1, row.cells[column].mean
        better, equal = sum(sign * other > sign * own for other in others), sum(other == own for other in others)
        ranks.append(1 + better + equal / 2)
        beaten, rivals = beaten + len(others) - better - equal / 2, rivals + len(others)
    if not ranks:
        return None
    shares = [column for column in columns if column.unit == "%" and column.higher_is_better]
    whole = bool(shares) and all(column in row.cells for column in shares)
    average = statistics.fmean(row.cells[column].mean for column in shares) if whole else None
    return Ranking(statistics.fmean(ranks), beaten / rivals if rivals else 1.0, average)


def tested(board: Leaderboard, hits: Hits) -> Leaderboard:
    """The leaderboard with a column's best marked where it is better than the second by a paired test.

    With one run each, that is McNemar's exact test over the test images; with the same three seeds or more, a paired t
    test over them; otherwise none is made.
    """
    rows = list(board.rows)
    for column in board.columns:
        competing = [i for i, row in enumerate(rows) if row.kind == "candidate" and column in row.cells]
        order = sorted(competing, key=lambda i: rows[i].cells[column].mean, reverse=column.higher_is_better)
        if len(order) < 2 or board.place(rows[order[1]], column) == 1:
            continue
        best = rows[order[0]].cells[column]
        p = p_value(best, rows[order[1]].cells[column], column, hits)
        if p is not None and p < LEVEL:
            cells = {**rows[order[0]].cells, column: replace(best, is_ahead=True)}
            rows[order[0]] = replace(rows[order[0]], cells=cells)
    return replace(board, rows=tuple(rows))


def p_value(first: Cell, second: Cell, column: Column, hits: Hits) -> float | None:
    """Of a paired test that two cells do not differ, two-sided; None where none can be made."""
    if first.n == second.n == 1:
        one, other = hits(first.records[0]), hits(second.records[0])
        if one is None or other is None or len(one) != len(other):
            return None
        return mcnemar(int((one & ~other).sum()), int((other & ~one).sum()))
    values = [_by_seed(cell, column.metric) for cell in (first, second)]
    shared = sorted(values[0].keys() & values[1].keys())
    differences = [values[0][seed] - values[1][seed] for seed in shared]
    if len(differences) < SEEDS or len(differences) != max(first.n, second.n):
        return None
    from scipy import stats

    test: Any = stats.ttest_1samp(differences, 0)
    return float(test.pvalue)


def _by_seed(cell: Cell, metric: str) -> dict[tuple[int | None, int], float]:
    """A cell's values by the seeds of pretraining and evaluation."""
    values = {}
    for record in cell.records:
        if score := record.score(metric):
            values[record.card.origin.seed, record.seed] = score.value
    return values
