"""A leaderboard as text in lines, before any format: what stands where, what is marked, and the notes below."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from transferbench.tables.board import DECIMALS, Cell, Column, Leaderboard, Row
from transferbench.tables.controls import BEATEN, NOTE

Style = Literal["", "best", "second"]
STYLES: tuple[Style, ...] = ("", "best", "second")
ABSENT = "\N{EN DASH}"
AHEAD = "*"
PLACES = "Bold: best; underlined: second; chance, controls and published numbers are not ranked."
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class GridEntry:
    """A number and what belongs to it; `spread` begins with ±."""

    text: str
    spread: str = ""
    marks: str = ""
    style: Style = ""
    is_number: bool = True


@dataclass(frozen=True)
class GridLine:
    """A line's name in one or more columns, and its entries."""

    kind: str
    stub: tuple[str, ...]
    entries: tuple[GridEntry, ...]


@dataclass(frozen=True)
class Grid:
    """A table of text: `heads` are a group's and a column's name each."""

    stub: tuple[str, ...]
    heads: tuple[tuple[str, str], ...]
    lines: tuple[GridLine, ...]
    notes: tuple[str, ...]

    def transposed(self) -> "Grid":
        """Columns as lines and lines as columns, which are named by the first of their names."""
        lines = tuple(
            GridLine("candidate", head, tuple(line.entries[i] for line in self.lines))
            for i, head in enumerate(self.heads)
        )
        return replace(self, stub=("Data", "Task"), heads=tuple(("", line.stub[0]) for line in self.lines), lines=lines)


def grid(board: Leaderboard, with_ranks: bool = False) -> Grid:
    """The grid of a leaderboard; epochs, published numbers and ranks only where there are any."""
    has_epochs = any(row.epochs is not None for row in board.rows)
    ranked = with_ranks and any(row.ranking for row in board.rows)
    heads: list[tuple[str, str]] = []
    for column in board.columns:
        heads.append((column.dataset, heading(column)))
        heads += [(column.dataset, f"{column.label}, published")] if _is_referenced(board, column) else []
    heads += [("", name) for name in ("mean rank", "Borda", "average")] if ranked else []
    stub = ("Model", "Architecture", "Epochs") if has_epochs else ("Model", "Architecture")
    lines = []
    for row in board.rows:
        named = (row.name, row.architecture, "" if row.epochs is None else str(row.epochs))
        entries = [*_entries(board, row), *(_ranks(row) if ranked else [])]
        lines.append(GridLine(row.kind, named[: len(stub)], tuple(entries)))
    return Grid(stub, tuple(heads), tuple(lines), tuple(notes(board)))


def _is_referenced(board: Leaderboard, column: Column) -> bool:
    return any(cell.reference for row in board.rows if (cell := row.cells.get(column)))


def _entries(board: Leaderboard, row: Row) -> Iterator[GridEntry]:
    counts = {cell.n for each in board.rows for cell in each.cells.values() if cell.n > 1}
    for column in board.columns:
        cell = row.cells.get(column)
        style = STYLES[board.place(row, column) or 0]
        yield _entry(cell, len(counts) > 1, style) if cell else GridEntry(ABSENT, is_number=False)
        if _is_referenced(board, column):
            yield _published(cell) if cell and cell.reference else GridEntry("", is_number=False)


def _entry(cell: Cell, with_count: bool, style: Style) -> GridEntry:
    count = f" ({cell.n})" if with_count and cell.std is not None and cell.n else ""
    spread = "" if cell.std is None else f"± {cell.std:.{DECIMALS}f}{count}"
    marks = cell.mark + (AHEAD if cell.is_ahead else "")
    if style and cell.is_beaten:
        style, marks = "", marks + BEATEN
    return GridEntry(f"{cell.mean:.{DECIMALS}f}", spread, marks, style)


def _published(cell: Cell) -> GridEntry:
    reference = cell.reference
    assert reference is not None
    sign = MINUS if reference.difference < 0 else "+"
    text = f"{reference.number.value:g} ({sign}{abs(reference.difference):.{DECIMALS}f}, {reference.band})"
    return GridEntry(text, is_number=False)


def _ranks(row: Row) -> list[GridEntry]:
    if row.ranking is None:
        return [GridEntry("", is_number=False)] * 3
    average = row.ranking.average
    return [
        GridEntry(f"{row.ranking.mean_rank:.2f}"),
        GridEntry(f"{row.ranking.borda:.2f}"),
        GridEntry(f"{average:.2f}") if average is not None else GridEntry(ABSENT, is_number=False),
    ]


def heading(column: Column) -> str:
    """A column's label; how many images `1 %` or 10 a class really are, and an arrow where lower is better."""
    part = "" if column.images is None else f" ({column.images:,} images)"
    return f"{column.label}{part}{'' if column.higher_is_better else ' ↓'}"


def notes(board: Leaderboard) -> list[str]:
    """What a reader has to know: what ± is over, which way is better, what marks say, what was left out and why."""
    measured = [cell for row in board.rows for cell in row.cells.values()]
    runs = sorted({cell.n for cell in measured if cell.n > 1})
    lower = [f"{column.dataset} {column.label}" for column in board.columns if not column.higher_is_better]
    lines = []
    if any(board.place(row, column) for row in board.rows for column in row.cells):
        lines.append(PLACES)
    if runs:
        how = f"{runs[0]} runs." if len(runs) == 1 else "the number of runs in brackets."
        lines.append(f"± is the sample standard deviation over {how}")
    if lower:
        lines.append(f"Lower is better: {', '.join(lower)}.")
    if any(cell.is_ahead for cell in measured):
        lines.append(
            f"{AHEAD} better than the second, p < 0.05: McNemar's test over test images, or a paired t test over seeds."
        )
    if any(cell.is_beaten and board.place(row, column) for row in board.rows for column, cell in row.cells.items()):
        lines.append(f"{BEATEN} {NOTE}")
    if any(cell.reference for cell in measured):
        lines.append(
            f"Published: the paper's number, and measured less published; within: at most {board.tolerance:g} away."
        )
    lines += [f"{mark} {text}" for mark, text in board.footnotes.items()]
    for names in _same_weights(board):
        lines.append(f"The same weights under {len(names)} names: {', '.join(names)}.")
    if board.left_out:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(board.left_out.items()))
        lines.append(f"Left out: {counts}.")
    return lines


def _same_weights(board: Leaderboard) -> list[list[str]]:
    """The names of rows that hold results of one digest, for each digest that several do."""
    named: dict[str, dict[str, None]] = defaultdict(dict)
    for row in board.candidates:
        for record in (record for cell in row.cells.values() for record in cell.records):
            named[record.digest][row.name] = None
    return [list(names) for names in dict.fromkeys(map(tuple, named.values())) if len(names) > 1]


def cures(board: Leaderboard) -> list[str]:
    """What shows the results of a leaderboard that has none."""
    if board.columns or not board.left_out.get("limited"):
        return []
    return ["Results of smoke runs (--limit) are shown with --limited."]
