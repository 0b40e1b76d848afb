"""Records as tables: every column of every record, and the leaderboard, in every format that people ask for."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from transferbench import settings, state
from transferbench.records import LEADERBOARD, Record
from transferbench.tables.board import Leaderboard
from transferbench.tables.cells import csv
from transferbench.tables.choice import Choice
from transferbench.tables.grid import Grid, cures, grid, notes
from transferbench.tables.latex import document, latex
from transferbench.tables.leaderboard import leaderboard
from transferbench.tables.lines import line, loaded
from transferbench.tables.markup import html, markdown, terminal
from transferbench.tables.numbers import plain, wide

__all__ = [
    "Choice",
    "Form",
    "Grid",
    "Leaderboard",
    "csv",
    "cures",
    "frame",
    "grid",
    "html",
    "latex",
    "leaderboard",
    "line",
    "loaded",
    "markdown",
    "notes",
    "terminal",
    "wide",
    "write",
]

SUMMARY = ("scores", "card", "load_report", "data_fingerprint", "config", "artifacts", "environment")
"""The fields of a record that are no single value."""
PARTS = ("machine", "packages")
"""Of an environment: mappings, in what we write."""


@dataclass(frozen=True)
class Form:
    """How a leaderboard is laid out.

    Attributes:
        ranks: add mean rank, Borda and average.
        transpose: tasks as lines, models as columns.
        caption: what the table is called, before its notes.
        label: LaTeX's label.
    """

    ranks: bool = False
    transpose: bool = False
    caption: str = ""
    label: str = ""

    def laid(self, board: Leaderboard) -> Grid:
        """The leaderboard's grid."""
        table = grid(board, self.ranks)
        return table.transposed() if self.transpose else table


PLAIN = Form()


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One line a record with everything it holds; nested values as JSON, every score in columns of its own."""
    lines = [_line(record) for record in records]
    table = pd.DataFrame(lines)
    return table.sort_values(["candidate", "dataset", "task", "identity"], ignore_index=True) if lines else table


def write(folder: Path, records: Sequence[Record], board: Leaderboard, form: Form = PLAIN) -> list[Path]:
    r"""Write `records.csv` (long) and the leaderboard as `.csv`, `.json`, `.md`, `.html` and LaTeX; returns where.

    `leaderboard.tex` compiles as it stands; the table in it is also in `leaderboard-table.tex`, to \input. Where
    nothing is ranked, nothing is written.
    """
    if not board.columns:
        return []
    laid = form.laid(board)
    table = latex(laid, form.caption, form.label)
    texts = {
        "records.csv": csv(frame(records)),
        "leaderboard.csv": csv(wide(board)),
        LEADERBOARD: json.dumps(plain(board), indent=1) + "\n",
        "leaderboard.tex": document(table),
        "leaderboard-table.tex": table,
        "leaderboard.md": markdown(laid),
        "leaderboard.html": html(laid, form.caption),
    }
    for name, text in texts.items():
        state.write(folder / name, text)
    return [folder / name for name in texts]


def _line(record: Record) -> dict[str, Any]:
    values = record.model_dump(mode="json")
    nested = {name: values.pop(name) for name in SUMMARY}
    origin, environment = nested["card"]["origin"], nested["environment"]
    machine, packages = (value if isinstance(value := environment.get(name), dict) else {} for name in PARTS)
    line = {
        **values,
        "split": record.split,
        "notes": " ".join(record.notes),
        "images": settings.canonical_json(record.images),
        "identity": record.identity,
        "architecture": record.card.architecture.name,
        **{f"origin_{name}": value for name, value in origin.items()},
        "commit": environment.get("commit"),
        "torch": packages.get("torch"),
        "device": environment.get("device"),
        "machine": machine.get("gpu") or machine.get("cpu"),
        **{name: settings.canonical_json(value) for name, value in nested.items() if name != "scores"},
    }
    for score, dumped in zip(record.scores, nested["scores"], strict=True):
        for name, value in dumped.items():
            if name not in ("metric", "interval", "bootstrap"):
                line[score.metric if name == "value" else f"{score.metric}_{name}"] = value
        line[f"{score.metric}_low"], line[f"{score.metric}_high"] = score.interval or (None, None)
        if score.bootstrap:
            line[f"{score.metric}_bootstrap_low"], line[f"{score.metric}_bootstrap_high"] = score.bootstrap
    return line
