"""The leaderboard as the page's table: what each cell says, and the number that it is sorted by."""

from collections.abc import Iterator
from dataclasses import dataclass

from transferbench.report.subject import Subject
from transferbench.tables import grid
from transferbench.tables.board import Column, Leaderboard
from transferbench.tables.grid import GridEntry


@dataclass(frozen=True)
class Head:
    """A column's name, and what it is chosen by; `best` says which numbers stand first when it is sorted."""

    group: str
    name: str
    best: str
    dataset: str = ""
    task: str = ""


@dataclass(frozen=True)
class Item:
    """A cell: its text as in every other table, and its number where it has one."""

    entry: GridEntry
    number: str


@dataclass(frozen=True)
class StandingsRow:
    """A line of the table; `key` is that of its section, empty where there is none."""

    key: str
    kind: str
    stub: tuple[str, ...]
    items: tuple[Item, ...]
    words: str


@dataclass(frozen=True)
class Standings:
    """The whole table."""

    stub: tuple[str, ...]
    heads: tuple[Head, ...]
    places: tuple[StandingsRow, ...]
    notes: tuple[str, ...]

    @property
    def datasets(self) -> list[str]:
        """The data sets that columns are of."""
        return list(dict.fromkeys(head.dataset for head in self.heads if head.dataset))

    @property
    def tasks(self) -> list[str]:
        """The tasks that columns are of."""
        return list(dict.fromkeys(head.task for head in self.heads if head.task))


def standings(board: Leaderboard, subjects: list[Subject]) -> Standings:
    """The table of a leaderboard, with ranks where there are candidates to rank."""
    laid = grid(board, with_ranks=len(board.candidates) > 1)
    keys = {id(subject.row): subject.key for subject in subjects}
    places = [
        StandingsRow(
            keys.get(id(row), ""),
            line.kind,
            line.stub,
            tuple(Item(entry, number(entry)) for entry in line.entries),
            " ".join([*line.stub, row.method, line.kind]).lower(),
        )
        for row, line in zip(board.rows, laid.lines, strict=True)
    ]
    return Standings(laid.stub, tuple(_heads(board, laid.heads)), tuple(places), laid.notes)


def number(entry: GridEntry) -> str:
    """The number that a cell begins with; empty where there is none."""
    first = entry.text.split(" ")[0]
    try:
        return str(float(first))
    except ValueError:
        return ""


def _heads(board: Leaderboard, heads: tuple[tuple[str, str], ...]) -> Iterator[Head]:
    left, column = iter(board.columns), None
    for group, name in heads:
        if not group:
            yield Head("", name, "low" if name == "mean rank" else "high")
            continue
        is_published = column is not None and name == f"{column.label}, published"
        column = column if is_published else next(left)
        yield _head(column, name)


def _head(column: Column | None, name: str) -> Head:
    assert column is not None
    return Head(column.dataset, name, "high" if column.higher_is_better else "low", column.dataset, column.task)
