"""The leaderboard: one row a candidate, one column a protocol on a data set, means over seeds and checkpoints."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from transferbench.errors import unknown
from transferbench.records import Record
from transferbench.records.subjects import computations, is_control, network, subject, values_of, words_apart
from transferbench.tables.board import Cell, Column, Kind, Leaderboard, Row
from transferbench.tables.choice import ORDERS, Choice, filtered, score_names
from transferbench.tables.columns import column_of, columns_of
from transferbench.tables.controls import compared
from transferbench.tables.merging import merged
from transferbench.tables.ranking import Hits, ranked, tested
from transferbench.tables.references import context, referenced

SUPERVISED = "supervised"
"""The method of weights trained with labels, which are a control too."""
EVERYTHING = Choice()


def leaderboard(
    records: Iterable[Record], choice: Choice = EVERYTHING, unreadable: int = 0, hits: Hits | None = None
) -> Leaderboard:
    """The leaderboard of some records.

    Args:
        records: records of any status.
        choice: which of them it shows, and how.
        unreadable: how many more there are that were edited or cut short; they are only counted.
        hits: gives the test images that a result got right, for tests of the best against the second.

    Raises:
        UserError: for a condition, a column or an order that cannot be read or that nothing answers to.
    """
    left_out = Counter({"edited or unreadable": unreadable})
    kept: list[Record] = []
    for record in filtered(list(records), choice):
        reason = _why_not(record, choice.limited)
        left_out.update([reason] if reason else [])
        kept += [] if reason else [record]
    columns = columns_of(kept, choice)
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in kept:
        groups[subject(record)].append(record)
    rows = _named_apart([(group, _row(group, columns, choice)) for _, group in sorted(groups.items())])
    rows = [row for row in rows if row.cells]
    ordered = list(columns.values())
    controls = sorted((row for row in rows if row.kind == "control"), key=lambda row: (row.architecture, row.name))
    candidates = ranked([row for row in rows if row.kind == "candidate"], ordered)
    board = Leaderboard(
        tuple(ordered),
        (*_chance(kept, columns), *controls, *_in_order(candidates, ordered, choice)),
        dict(+left_out),
        tolerance=choice.tolerance,
    )
    board = compared(board)
    board = referenced(board) if choice.published else board
    board = context(board) if choice.context else board
    board = merged(board) if choice.merged else board
    return tested(board, hits) if hits else board


def _why_not(record: Record, limited: bool) -> str | None:
    """Why a record is no part of the leaderboard; None when it is."""
    if record.status != "ok":
        return record.status
    if not record.is_intact():
        return "edited or unreadable"
    if record.limit is not None and not limited:
        return "limited"
    return None if record.score(record.primary) else "without their main score"


def _kind(record: Record) -> Kind:
    return "control" if is_control(record) or record.card.origin.method == SUPERVISED else "candidate"


def _row(group: Sequence[Record], columns: dict[Column, Column], choice: Choice) -> Row:
    results: dict[Column, tuple[str, list[Record]]] = {}
    for record in group:
        for score in record.scores:
            if choice.place(record, score) is not None:
                column = columns[column_of(record, score)]
                results.setdefault(column, (score.metric, []))[1].append(record)
    first = group[0]
    return Row(
        kind=_kind(first),
        name=first.candidate,
        architecture=first.card.architecture.name,
        cells={column: _cell(records, metric) for column, (metric, records) in results.items()},
        method=first.card.origin.method or "",
        epochs=first.card.origin.epochs,
        network=network(first.card),
    )


def _cell(results: Sequence[Record], metric: str) -> Cell:
    """What one row's results of one protocol come to."""
    runs = computations(results, metric)
    values = values_of(runs, metric)
    std = statistics.stdev(values) if len(values) > 1 else None
    return Cell(statistics.fmean(values), std, len(values), records=tuple(runs))


def _named_apart(rows: Sequence[tuple[Sequence[Record], Row]]) -> list[Row]:
    """Rows given with their records: a word is added to the name where name and architecture are not enough."""
    alike: dict[tuple[str, str], list[Sequence[Record]]] = defaultdict(list)
    for group, row in rows:
        alike[row.name, row.architecture].append(group)
    words = {
        id(group): f" [{word}]"
        for groups in alike.values()
        if len(groups) > 1
        for group, word in zip(groups, words_apart(groups), strict=True)
    }
    return [replace(row, name=f"{row.name}{words.get(id(group), '')}") for group, row in rows]


def _chance(kept: Sequence[Record], columns: dict[Column, Column]) -> list[Row]:
    """What guessing scores, where the main score is an accuracy."""
    cells: dict[Column, Cell] = {}
    for record in kept:
        score = record.score(record.primary)
        column = columns.get(column_of(record, score)) if score else None
        if column and record.chance is not None and record.primary.startswith(("top1", "mean_per_class")):
            cells[column] = Cell(record.chance, None, 0)
    return [Row("chance", "chance", "", cells)] if cells else []


def _in_order(rows: Sequence[Row], columns: Sequence[Column], choice: Choice) -> list[Row]:
    """The candidates in the order that is asked for; what does not say stands last.

    Raises:
        UserError: when there is no such order or column.
    """
    if choice.sort not in ORDERS:
        matching = [
            column
            for column in columns
            if any(
                fnmatchcase(name, choice.sort)
                for name in score_names(column.dataset, column.task, column.label, column.metric, True)
            )
        ]
        if not matching:
            raise unknown("order", choice.sort, [*ORDERS, *(f"{each.task}.{each.metric}" for each in columns)])
        column = matching[0]
        sign = -1 if column.higher_is_better else 1
        return sorted(rows, key=lambda row: (sign * row.cells[column].mean if column in row.cells else 1e300, row.name))
    keys = {
        "rank": lambda row: (row.ranking.mean_rank if row.ranking else 1e9, row.name, row.architecture),
        "name": lambda row: (row.name, row.architecture),
        "epochs": lambda row: (row.epochs is None, row.epochs or 0, row.name),
    }
    return sorted(rows, key=keys[choice.sort])
