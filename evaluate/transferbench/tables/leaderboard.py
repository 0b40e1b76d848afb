"""The leaderboard: one row a candidate, one column a protocol on a data set, means over seeds and checkpoints."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from transferbench import settings
from transferbench.checkpoints import Origin
from transferbench.records import Record

DECIMALS = 2
CONTROL = "random-init"
"""The load report's format of a network that nothing was loaded into."""


@dataclass(frozen=True)
class Column:
    """One protocol on one data set: equal only when every setting and the data are."""

    dataset: str
    task: str
    label: str
    metric: str
    unit: str
    higher_is_better: bool
    protocol_sha256: str
    data_sha256: str
    limit: int | None


@dataclass(frozen=True)
class Cell:
    """Mean over `n` runs, and their sample standard deviation where there are two or more. Chance has no runs."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """What is judged: checkpoints that differ in nothing but their seed."""

    kind: Literal["chance", "control", "candidate"]
    name: str
    architecture: str
    cells: dict[Column, Cell]


@dataclass(frozen=True)
class Leaderboard:
    """Chance and controls first, then candidates by their mean rank; `left_out` counts records by why they are."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: dict[str, int]

    def place(self, row: Row, column: Column) -> int | None:
        """1 for the best candidate of a column, 2 for the second; equal as printed is equal. None for the rest."""
        if row.kind != "candidate" or column not in row.cells:
            return None
        rivals = [other.cells[column] for other in self.rows if other.kind == "candidate" and column in other.cells]
        printed = sorted({round(cell.mean, DECIMALS) for cell in rivals}, reverse=column.higher_is_better)
        place = printed.index(round(row.cells[column].mean, DECIMALS)) + 1
        return place if place <= 2 and len(rivals) > 1 else None


def leaderboard(found: Iterable[Record], limited: bool = False, unreadable: int = 0) -> Leaderboard:
    """The leaderboard of some records.

    Args:
        found: records of any status.
        limited: show smoke runs too, in columns of their own.
        unreadable: how many more there are that were edited or cut short; they are only counted.
    """
    left_out = Counter({"edited or unreadable": unreadable})
    kept: list[Record] = []
    for record in found:
        reason = _why_not(record, limited)
        left_out.update([reason] if reason else [])
        kept += [] if reason else [record]
    columns = _columns(kept)
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in kept:
        groups[_row_key(record)].append(record)
    rows = _named_apart([(min(r.digest for r in group), _row(group, columns)) for _, group in sorted(groups.items())])
    ordered = sorted(columns.values(), key=_column_order)
    controls = sorted((row for row in rows if row.kind == "control"), key=lambda row: (row.architecture, row.name))
    candidates = _by_mean_rank([row for row in rows if row.kind == "candidate"], ordered)
    return Leaderboard(tuple(ordered), (*_chance(kept, columns), *controls, *candidates), dict(+left_out))


def _why_not(record: Record, limited: bool) -> str | None:
    """Why a record is no part of the leaderboard; None when it is."""
    if record.status != "ok":
        return record.status
    if not record.is_intact():
        return "edited or unreadable"
    if record.limit is not None and not limited:
        return "limited"
    return None if record.score(record.primary) else "without their main score"


def _is_control(record: Record) -> bool:
    return record.load_report.format == CONTROL


def _row_key(record: Record) -> str:
    """What the records of one row share: seeds of one recipe are one row, weights of unknown origin one each."""
    origin = record.card.origin.model_copy(update={"seed": None, "commit": None, "source_sha256": None})
    account = origin.model_dump_json() if origin != Origin() else record.digest
    network = record.card.model_dump(mode="json", include={"architecture", "preprocess"})
    return f"{record.candidate} {settings.canonical_json(network)} {account}"


def _column(record: Record) -> Column:
    score = record.score(record.primary)
    assert score is not None, "_why_not lets no record without its main score pass"
    return Column(
        dataset=record.dataset,
        task=record.task,
        label=record.label,
        metric=score.metric,
        unit=score.unit,
        higher_is_better=score.higher_is_better,
        protocol_sha256=record.protocol_sha256,
        data_sha256=settings.sha256(record.data_fingerprint),
        limit=record.limit,
    )


def _columns(kept: Iterable[Record]) -> dict[Column, Column]:
    """Each column, and the same with a label that tells it apart from all others."""
    alike: dict[tuple[str, str], set[Column]] = defaultdict(set)
    for column in map(_column, kept):
        alike[column.dataset, column.label].add(column)
    return {column: _apart(column, group) for group in alike.values() for column in group}


def _apart(column: Column, alike: set[Column]) -> Column:
    """The column with as much added to its label as tells it apart from those alike; smoke runs always say so."""
    limit = [f"{column.limit} images"] if column.limit else []
    marks = {"protocol_sha256": column.protocol_sha256[:6], "data_sha256": f"data {column.data_sha256[:6]}"}
    same = [other for other in alike if other.limit == column.limit]
    added = limit + [mark for name, mark in marks.items() if len({getattr(other, name) for other in same}) > 1]
    return replace(column, label=" ".join([column.label, *(f"[{mark}]" for mark in added)]))


def _column_order(column: Column) -> tuple[object, ...]:
    """By data set, then task, then label with its numbers as numbers: 1 % before 10 %."""
    natural = tuple(
        (int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", column.label) if part
    )
    return column.dataset, column.task, natural, column.protocol_sha256, column.data_sha256, column.limit or 0


def _row(group: Sequence[Record], columns: dict[Column, Column]) -> Row:
    values: dict[Column, list[float]] = defaultdict(list)
    for record in group:
        score = record.score(record.primary)
        values[columns[_column(record)]] += [score.value] if score else []
    first = group[0]
    cells = {
        column: Cell(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))
        for column, found in values.items()
    }
    kind = "control" if _is_control(first) else "candidate"
    return Row(kind, first.candidate, first.card.architecture.name, cells)


def _named_apart(rows: Sequence[tuple[str, Row]]) -> list[Row]:
    """Rows given with a digest each: it becomes part of the name where name and architecture are not enough."""
    count = Counter((row.name, row.architecture) for _, row in rows)
    return [
        row if count[row.name, row.architecture] == 1 else replace(row, name=f"{row.name} [{digest[:6]}]")
        for digest, row in rows
    ]


def _chance(kept: Sequence[Record], columns: dict[Column, Column]) -> list[Row]:
    """What guessing scores, where the main score is an accuracy."""
    cells = {
        columns[_column(record)]: Cell(record.chance, None, 0)
        for record in kept
        if record.chance is not None and record.primary.startswith(("top1", "mean_per_class"))
    }
    return [Row("chance", "chance", "", cells)] if cells else []


def _by_mean_rank(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Best first: by the mean, over the columns a row has, of how many rows are better there."""

    def mean_rank(row: Row) -> float:
        return statistics.fmean(
            sum(_is_better(other.cells[column], row.cells[column], column) for other in rows if column in other.cells)
            for column in columns
            if column in row.cells
        )

    return sorted(rows, key=lambda row: (mean_rank(row), row.name, row.architecture))


def _is_better(one: Cell, other: Cell, column: Column) -> bool:
    return one.mean > other.mean if column.higher_is_better else one.mean < other.mean
