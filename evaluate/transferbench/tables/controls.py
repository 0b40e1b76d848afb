"""Numbers that a row's own control beats: the same network as it is drawn, before any training."""

from dataclasses import replace

from transferbench.checkpoints import CONTROL
from transferbench.tables.board import DECIMALS, Cell, Column, Leaderboard, Row

BEATEN = "‡"
NOTE = (
    f"worse than its own control ({CONTROL}: the same architecture and preprocessing, untrained), so not marked as "
    "best or second."
)


def compared(board: Leaderboard) -> Leaderboard:
    """The leaderboard whose candidates' cells say where their own control is better, as printed."""
    controls = [row for row in board.rows if row.kind == "control" and row.method == CONTROL]
    rows = [_compared(row, controls) if row.kind == "candidate" else row for row in board.rows]
    return replace(board, rows=tuple(rows))


def _compared(row: Row, controls: list[Row]) -> Row:
    own = [control.cells for control in controls if control.network == row.network]
    cells = {
        column: replace(cell, is_beaten=any(_beats(each[column], cell, column) for each in own if column in each))
        for column, cell in row.cells.items()
    }
    return replace(row, cells=cells)


def _beats(control: Cell, cell: Cell, column: Column) -> bool:
    sign = 1 if column.higher_is_better else -1
    return sign * round(control.mean, DECIMALS) > sign * round(cell.mean, DECIMALS)
