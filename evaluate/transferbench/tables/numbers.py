"""A leaderboard as numbers: a wide table, and JSON."""

from typing import Any

import pandas as pd

from transferbench.tables.board import Cell, Leaderboard

SOMETIMES = ("published", "difference", "band", "average", "epochs")
"""Columns of the wide table that are left out where no row has them."""


def wide(board: Leaderboard) -> pd.DataFrame:
    """One line a row, as numbers: mean, standard deviation and number of runs of every column, and ranks."""
    lines = []
    for row in board.rows:
        line: dict[str, object] = {"kind": row.kind, "name": row.name, "architecture": row.architecture}
        line |= {"method": row.method or None, "epochs": row.epochs}
        for column in board.columns:
            for part, value in _parts(row.cells.get(column)).items():
                line[f"{column.dataset} {column.label} {part}"] = value
        if row.ranking:
            line |= {name: getattr(row.ranking, name) for name in ("mean_rank", "borda", "average")}
        lines.append(line)
    table = pd.DataFrame(lines)
    return table.drop(columns=[name for name in table if _is_empty(name, table)])


def plain(board: Leaderboard) -> dict[str, Any]:
    """Everything in the leaderboard as JSON takes it."""
    return {
        "columns": [dict(vars(column)) for column in board.columns],
        "rows": [
            {
                "kind": row.kind,
                "name": row.name,
                "architecture": row.architecture,
                "method": row.method or None,
                "epochs": row.epochs,
                "cells": [_cell(row.cells.get(column)) for column in board.columns],
                "ranking": dict(vars(row.ranking)) if row.ranking else None,
            }
            for row in board.rows
        ],
        "tolerance": board.tolerance,
        "footnotes": board.footnotes,
        "left_out": board.left_out,
    }


def _cell(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    source = cell.reference.number.source if cell.reference else None
    return {**_parts(cell), "source": source, "is_ahead": cell.is_ahead, "is_beaten": cell.is_beaten, "mark": cell.mark}


def _parts(cell: Cell | None) -> dict[str, object]:
    reference = cell.reference if cell else None
    return {
        "mean": cell.mean if cell else None,
        "std": cell.std if cell else None,
        "n": cell.n if cell else None,
        "published": reference.number.value if reference else None,
        "difference": reference.difference if reference else None,
        "band": reference.band if reference else None,
    }


def _is_empty(name: Any, table: pd.DataFrame) -> bool:
    """Whether a column that only some tables need has nothing in it."""
    return str(name).rpartition(" ")[2] in SOMETIMES and bool(table[name].isna().all())
