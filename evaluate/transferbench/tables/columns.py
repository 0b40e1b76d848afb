"""The columns of a leaderboard: one a protocol on a data set, told apart where their labels would not."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from transferbench import settings
from transferbench.errors import unknown
from transferbench.records import Record, Score
from transferbench.tables.board import Column
from transferbench.tables.choice import Choice


def column_of(record: Record, score: Score) -> Column:
    """The column a score belongs to, with the label of its task."""
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
        split=record.split,
    )


def columns_of(kept: Sequence[Record], choice: Choice) -> dict[Column, Column]:
    """Each column that is asked for, in order, and the same with a label that differs from all others.

    Raises:
        UserError: when nothing answers to one of the patterns.
    """
    alike: dict[tuple[str, str, bool], set[Column]] = defaultdict(set)
    places: dict[Column, int] = {}
    seen: dict[Column, set[int]] = defaultdict(set)
    for record in kept:
        for score in record.scores:
            place = choice.place(record, score)
            if place is not None:
                column, is_main = column_of(record, score), score.metric == record.primary
                places[column] = min(place, places.get(column, place))
                seen[column] |= {n for n in (record.seen(score.metric),) if n is not None}
                alike[record.dataset, record.label if is_main else score.metric, is_main].add(column)
    for place, pattern in enumerate(choice.columns):
        if place not in places.values():
            names = {f"{record.task}.{score.metric}" for record in kept for score in record.scores}
            raise unknown("column", pattern, sorted(names))
    named: dict[Column, Column] = {}
    for (_, what, is_main), group in alike.items():
        names = {
            column: replace(column, label=_label(column, what, group, is_main), images=_agreed(seen[column]))
            for column in group
        }
        named |= {column: _apart(names[column], set(names.values())) for column in group}
    return dict(sorted(named.items(), key=lambda each: (places[each[0]], *order_of(each[1]))))


def _label(column: Column, what: str, alike: set[Column], is_main: bool) -> str:
    """What a column is called: its task's label or, of another than the main score, the metric."""
    tasks = {other.label for other in alike}
    return what if is_main or len(tasks) == 1 else f"{column.label} {what}"


def _agreed(seen: set[int]) -> int | None:
    """How many training images were seen, where all records agree."""
    return next(iter(seen)) if len(seen) == 1 else None


def _apart(column: Column, group: set[Column]) -> Column:
    """The column with as much added to its label as makes it unique; smoke runs and other splits are always marked."""
    limit = [f"{column.limit} images"] if column.limit else []
    split = [column.split] if column.split else []
    marks = {"protocol_sha256": column.protocol_sha256[:6], "data_sha256": f"data {column.data_sha256[:6]}"}
    same = [other for other in group if _stated(other) == _stated(column)]
    added = split + limit + [mark for name, mark in marks.items() if len({getattr(other, name) for other in same}) > 1]
    return replace(column, label=" ".join([column.label, *(f"[{mark}]" for mark in added)]))


def _stated(column: Column) -> tuple[object, ...]:
    """What is said of a column anyhow."""
    return column.label, column.limit, column.split


def order_of(column: Column) -> tuple[object, ...]:
    """By data set, then task, then label with its numbers as numbers: 1 % before 10 %."""
    natural = tuple(
        (int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", column.label) if part
    )
    return (
        column.dataset,
        column.task,
        natural,
        column.split or "",
        column.protocol_sha256,
        column.data_sha256,
        column.limit or 0,
    )
