"""Records as tables: every column of every record, and the leaderboard, as CSV, LaTeX and Markdown."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from transferbench import settings, state
from transferbench.records import Record
from transferbench.tables.leaderboard import Leaderboard, leaderboard
from transferbench.tables.lines import line, loaded
from transferbench.tables.writers import latex, markdown, notes, terminal, wide

__all__ = ["Leaderboard", "frame", "leaderboard", "line", "loaded", "markdown", "notes", "terminal", "write"]

SUMMARY = ("scores", "card", "load_report", "data_fingerprint", "config", "artifacts", "environment")
"""The fields of a record that are no single value."""


def frame(found: Iterable[Record]) -> pd.DataFrame:
    """One line a record with everything it holds; nested values as JSON, every score in columns of its own."""
    lines = [_line(record) for record in found]
    table = pd.DataFrame(lines)
    return table.sort_values(["candidate", "dataset", "task", "identity"], ignore_index=True) if lines else table


def write(folder: Path, found: Sequence[Record], board: Leaderboard) -> list[Path]:
    """Write `records.csv` (long) and `leaderboard.csv`, `.tex` and `.md`; returns where."""
    texts = {
        "records.csv": frame(found).to_csv(index=False),
        "leaderboard.csv": wide(board).to_csv(index=False),
        "leaderboard.tex": latex(board),
        "leaderboard.md": markdown(board),
    }
    for name, text in texts.items():
        state.write(folder / name, text)
    return [folder / name for name in texts]


def _line(record: Record) -> dict[str, Any]:
    values = record.model_dump(mode="json")
    nested = {name: values.pop(name) for name in SUMMARY}
    origin, environment = nested["card"]["origin"], nested["environment"]
    machine = environment.get("machine", {})
    line = {
        **values,
        "identity": record.identity,
        "architecture": record.card.architecture.name,
        **{f"origin_{name}": value for name, value in origin.items()},
        "commit": environment.get("commit"),
        "torch": environment.get("packages", {}).get("torch"),
        "device": environment.get("device"),
        "machine": machine.get("gpu") or machine.get("cpu"),
        **{name: settings.canonical_json(value) for name, value in nested.items() if name != "scores"},
    }
    for score in record.scores:
        for name, value in score.model_dump(mode="json", exclude={"metric", "interval", "bootstrap"}).items():
            line[score.metric if name == "value" else f"{score.metric}_{name}"] = value
        line[f"{score.metric}_low"], line[f"{score.metric}_high"] = score.interval or (None, None)
        if score.bootstrap:
            line[f"{score.metric}_bootstrap_low"], line[f"{score.metric}_bootstrap_high"] = score.bootstrap
    return line
