"""What a section of the page is about: a row of the leaderboard, its records and its rivals."""

import re
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import count

from transferbench.records import Record
from transferbench.tables.board import Leaderboard, Row
from transferbench.tables.columns import order_of


@dataclass(frozen=True)
class Subject:
    """A row with records: `key` names it in links and files; `rivals` are the other rows' names and records."""

    key: str
    row: Row
    records: tuple[Record, ...]
    rivals: tuple[tuple[str, tuple[Record, ...]], ...] = ()


def subjects(board: Leaderboard) -> list[Subject]:
    """The rows that something was measured for, in the leaderboard's order."""
    rows = [(row, records_of(row)) for row in board.rows if records_of(row)]
    keys: list[str] = []
    for row, _ in rows:
        keys.append(free(slug(row.name), keys))
    return [
        Subject(key, row, own, tuple((other.name, theirs) for other, theirs in rows if other is not row))
        for key, (row, own) in zip(keys, rows, strict=True)
    ]


def records_of(row: Row) -> tuple[Record, ...]:
    """A row's records, each once, in the order of its columns and of the seeds in them."""
    ordered = [row.cells[column] for column in sorted(row.cells, key=order_of)]
    records = {each.record_sha256: each for cell in ordered for each in sorted(cell.records, key=_seeds)}
    return tuple(records.values())


def _seeds(record: Record) -> tuple[int, int]:
    return record.card.origin.seed or 0, record.seed


def by_dataset(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Records by the name of their data set."""
    grouped: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        grouped[record.dataset].append(record)
    return grouped


def free(name: str, used: Container[str]) -> str:
    """The name, with the first number behind it that is not taken when it is."""
    numbered = (f"{name}-{i}" for i in count(2))
    return name if name not in used else next(each for each in numbered if each not in used)


def slug(text: str) -> str:
    """A text as a name for files and links: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "row"
