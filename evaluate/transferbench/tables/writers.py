"""A leaderboard as LaTeX, Markdown, a wide table of numbers and a table for the terminal."""

from collections.abc import Callable
from itertools import groupby

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from transferbench.tables.leaderboard import DECIMALS, Cell, Column, Leaderboard, Row

TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {"±": r"$\pm$", "\N{EN DASH}": "--", "↓": r"$\downarrow$"}
)
ABSENT = "\N{EN DASH}"


def wide(board: Leaderboard) -> pd.DataFrame:
    """One line a row, as numbers: mean, standard deviation and number of runs of every column."""
    lines = []
    for row in board.rows:
        line: dict[str, object] = {"name": row.name, "architecture": row.architecture}
        for column in board.columns:
            cell = row.cells.get(column)
            for part in ("mean", "std", "n"):
                line[f"{column.dataset} {column.label} {part}"] = getattr(cell, part) if cell else None
        lines.append(line)
    return pd.DataFrame(lines)


def markdown(board: Leaderboard) -> str:
    """A table, best in bold and second underlined, and below it what it leaves out."""
    marks: list[Callable[[str], str]] = [str, lambda text: f"**{text}**", lambda text: f"<u>{text}</u>"]
    rows = [["Model", "Architecture", *(f"{column.dataset} {_heading(column)}" for column in board.columns)]]
    rows.append(["---", "---", *("---:" for _ in board.columns)])
    rows += [[row.name, row.architecture, *_cells(board, row, marks)] for row in board.rows]
    lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows]
    below = ["", *(f"- {note}" for note in notes(board))] if notes(board) else []
    return "\n".join([*lines, *below]) + "\n"


def latex(board: Leaderboard) -> str:
    r"""A `table` to \input, best in bold and second underlined; the preamble needs booktabs."""
    marks: list[Callable[[str], str]] = [_tex, _marked("textbf"), _marked("underline")]
    spans = [(name, len(list(group))) for name, group in groupby(board.columns, lambda column: column.dataset)]
    heads = [rf"\multicolumn{{{width}}}{{c}}{{{_tex(name)}}}" for name, width in spans]
    labels = [_tex(_heading(column)) for column in board.columns]
    rules = [
        rf"\cmidrule(lr){{{start}-{start + width - 1}}}"
        for start, width in zip(_starts([width for _, width in spans]), (width for _, width in spans), strict=True)
    ]
    body = [[_tex(row.name), _tex(row.architecture), *_cells(board, row, marks)] for row in board.rows]
    baselines = sum(row.kind != "candidate" for row in board.rows)
    lines = [" & ".join(line) + r" \\" for line in body]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{ll{'r' * len(board.columns)}}}",
            r"\toprule",
            " & ".join(["", "", *heads]) + r" \\",
            "".join(rules),
            " & ".join(["Model", "Architecture", *labels]) + r" \\",
            r"\midrule",
            *lines[:baselines],
            *([r"\midrule"] if 0 < baselines < len(lines) else []),
            *lines[baselines:],
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{_tex(' '.join(notes(board)))}}}",
            r"\end{table}",
            "",
        ]
    )


def terminal(board: Leaderboard) -> Table:
    """The leaderboard for rich to print."""
    table = Table(box=box.SIMPLE_HEAD, caption="\n".join(notes(board)), caption_justify="left")
    table.add_column("")
    table.add_column("")
    for column in board.columns:
        table.add_column(f"{column.dataset}\n{_heading(column)}", justify="right")
    styles = {1: "bold", 2: "underline"}
    for row in board.rows:
        texts = _cells(board, row, [str, str, str])
        places = [board.place(row, column) for column in board.columns]
        cells = [Text(text, styles.get(place or 0, "")) for text, place in zip(texts, places, strict=True)]
        table.add_row(Text(row.name), Text(row.architecture), *cells, style="" if row.kind == "candidate" else "dim")
    return table


def notes(board: Leaderboard) -> list[str]:
    """What a reader has to know: what ± is over, which way is better, what was left out and why."""
    runs = sorted({cell.n for row in board.rows for cell in row.cells.values() if cell.n > 1})
    lower = [f"{column.dataset} {column.label}" for column in board.columns if not column.higher_is_better]
    found = []
    if runs:
        how = f"{runs[0]} runs." if len(runs) == 1 else "as many runs as stand in brackets."
        found.append(f"± is the standard deviation over {how}")
    if lower:
        found.append(f"Lower is better: {', '.join(lower)}.")
    if board.left_out:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(board.left_out.items()))
        found.append(f"Left out: {counts}.")
    return found


def _cells(board: Leaderboard, row: Row, marks: list[Callable[[str], str]]) -> list[str]:
    """A row's cells as text; `marks` are applied to the mean of an ordinary, a best and a second-best cell."""
    counts = {cell.n for each in board.rows for cell in each.cells.values() if cell.n > 1}
    plain = marks[0]
    texts = []
    for column in board.columns:
        cell = row.cells.get(column)
        mark = marks[board.place(row, column) or 0]
        texts.append(mark(_mean(cell)) + plain(_spread(cell, len(counts) > 1)) if cell else plain(ABSENT))
    return texts


def _mean(cell: Cell) -> str:
    return f"{cell.mean:.{DECIMALS}f}"


def _spread(cell: Cell, with_count: bool) -> str:
    if cell.std is None:
        return ""
    return f" ± {cell.std:.{DECIMALS}f}" + (f" ({cell.n})" if with_count else "")


def _heading(column: Column) -> str:
    return f"{column.label} ↓" if not column.higher_is_better else column.label


def _tex(text: str) -> str:
    return text.translate(TEX)


def _marked(command: str) -> Callable[[str], str]:
    return lambda text: rf"\{command}{{{_tex(text)}}}"


def _starts(widths: list[int]) -> list[int]:
    """The first column of each span, counted from 1 after the two columns of names."""
    return [3 + sum(widths[:i]) for i in range(len(widths))]
