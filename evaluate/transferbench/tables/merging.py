"""One column for several protocols of a task, on request, distinguished by footnotes."""

import string
from collections import defaultdict
from dataclasses import replace

from transferbench.tables.board import Cell, Column, Leaderboard


def merged(board: Leaderboard) -> Leaderboard:
    """The leaderboard with columns that differ in their protocol alone made one, where no row has two of them.

    Cells carry a letter for their protocol; controls too, but chance is the same for all.
    """
    groups: dict[tuple[object, ...], list[Column]] = defaultdict(list)
    for column in board.columns:
        groups[column.dataset, column.task, column.metric, column.data_sha256, column.limit, column.split].append(
            column
        )
    into: dict[Column, tuple[Column, str]] = {}
    footnotes = dict(board.footnotes)
    letters = iter(string.ascii_lowercase)
    for group in groups.values():
        if len(group) < 2 or any(sum(column in row.cells for column in group) > 1 for row in board.candidates):
            into |= {column: (column, "") for column in group}
            continue
        one = replace(
            group[0], label=group[0].task + (f" [{group[0].split}]" if group[0].split else ""), protocol_sha256=""
        )
        for column in group:
            letter = next(letters)
            into[column] = one, letter
            footnotes[letter] = f"{column.label}, protocol {column.protocol_sha256[:12]}."
    rows = []
    for row in board.rows:
        cells: dict[Column, Cell] = {}
        for column, cell in row.cells.items():
            one, letter = into[column]
            cells.setdefault(one, cell if row.kind == "chance" else replace(cell, mark=cell.mark + letter))
        rows.append(replace(row, cells=cells))
    columns = tuple(dict.fromkeys(into[column][0] for column in board.columns))
    return replace(board, columns=columns, rows=tuple(rows), footnotes=footnotes)
