"""Published numbers in a leaderboard: beside results made in the same way, and as rows of their own."""

from collections import defaultdict
from dataclasses import replace

from transferbench.records.published import Published, around, beside, version_of
from transferbench.tables.board import DECIMALS, Cell, Column, Leaderboard, Reference, Row

ELSEWHERE = "†"
"""Marks a published number of another version of the data set."""
SPARSE = 1e-9


def referenced(board: Leaderboard) -> Leaderboard:
    """The leaderboard with the published number in each cell whose runs were made as the paper's were."""
    rows = [
        replace(row, cells={column: _referenced(cell, column, board.tolerance) for column, cell in row.cells.items()})
        for row in board.rows
    ]
    return replace(board, rows=tuple(rows))


def _referenced(cell: Cell, column: Column, tolerance: float) -> Cell:
    number = beside(cell.records[0], column.metric) if cell.records else None
    if number is None:
        return cell
    difference = round(cell.mean - number.value, DECIMALS)
    away = "above" if difference > 0 else "below"
    return replace(
        cell, reference=Reference(number, difference, "within" if abs(difference) <= tolerance + SPARSE else away)
    )


def context(board: Leaderboard) -> Leaderboard:
    """The leaderboard with a row for each way in which its methods were published under its columns' protocols.

    They are context: of other epochs, other networks or another version of the data, and in no band.
    """
    records = [record for row in board.candidates for cell in row.cells.values() for record in cell.records]
    shown: dict[tuple[object, ...], dict[Column, Cell]] = defaultdict(dict)
    names: dict[tuple[object, ...], Row] = {}
    used = False
    for number in around(records):
        for column in board.columns:
            example = next((row.cells[column].records[0] for row in board.candidates if column in row.cells), None)
            is_same = version_of(column.dataset) == number.dataset and column.metric == number.metric
            if example is None or not is_same or not number.is_measured_by(example):
                continue
            key = (number.method, number.variant, number.arch, number.epochs, number.pretrain_data)
            mark = ELSEWHERE if column.dataset != number.dataset else ""
            used = used or bool(mark)
            names[key] = _row(number)
            shown[key].setdefault(column, Cell(number.value, number.std, 0, mark=mark))
    rows = [replace(names[key], cells=cells) for key, cells in shown.items()]
    firsts = [row for row in board.rows if row.kind != "candidate"]
    notes = {ELSEWHERE: "Published for another version of these images: context, not a target."} if used else {}
    return replace(board, rows=(*firsts, *rows, *board.candidates), footnotes={**board.footnotes, **notes})


def _row(number: Published) -> Row:
    variant = f", {number.variant}" if number.variant else ""
    return Row("published", f"{number.method}{variant} (published)", number.arch, {}, number.method, number.epochs)
