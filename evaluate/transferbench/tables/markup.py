"""A grid as Markdown, as HTML and as a table for the terminal."""

import re
from html import escape

from rich import box
from rich.table import Table
from rich.text import Text

from transferbench.errors import printable
from transferbench.tables.grid import Grid, GridEntry

MARKED = re.compile(r"[\\\\|*`]|<(?=[A-Za-z/!?])|(?<=\])[(\[:]|&(?=#?\w+;)")
"""Characters that mean something in Markdown: `<` where it begins a tag, brackets where they make a link."""
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem; color-scheme: light dark; }
table { border-collapse: collapse; } th, td { padding: .25rem .75rem; } td { text-align: right; }
tbody th { text-align: left; font-weight: normal; } thead th { border-bottom: 2px solid; vertical-align: bottom; }
tr:not(.candidate) { opacity: .7; } .best { font-weight: bold; } .second { text-decoration: underline; }
"""


def markdown(grid: Grid) -> str:
    """A table, best in bold and second underlined, and below it what one has to know."""
    marked = {"": "{}", "best": "**{}**", "second": "<u>{}</u>"}

    def text(entry: GridEntry) -> str:
        parts = [marked[entry.style].format(plain(entry.text)) + plain(entry.marks), plain(entry.spread)]
        return " ".join(part for part in parts if part)

    heads = [plain(" ".join(part for part in head if part)) for head in grid.heads]
    rows = [[*map(plain, grid.stub), *heads]]
    rows.append([*("---" for _ in grid.stub), *("---:" for _ in grid.heads)])
    rows += [[*map(plain, line.stub), *map(text, line.entries)] for line in grid.lines]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    below = ["", *(f"- {plain(note)}" for note in grid.notes)] if grid.notes else []
    return "\n".join([*lines, *below]) + "\n"


def plain(text: str) -> str:
    """Text in one line of Markdown, with what would begin a cell, emphasis, code, a link or HTML made harmless."""
    return MARKED.sub(r"\\\g<0>", _line(text))


def _line(text: str) -> str:
    """The text in one line that steers nothing."""
    return printable(" ".join(text.split()))


def html(grid: Grid, caption: str = "") -> str:
    """A page with the table and nothing that is fetched from elsewhere."""

    def cell(entry: GridEntry) -> str:
        marks = f"<sup>{escape(entry.marks)}</sup>" if entry.marks else ""
        spread = f" {escape(entry.spread)}" if entry.spread else ""
        kind = f' class="{entry.style}"' if entry.style else ""
        return f"<td><span{kind}>{escape(entry.text)}</span>{marks}{spread}</td>"

    heads = [*grid.stub, *(" ".join(part for part in head if part) for head in grid.heads)]
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "\n".join(
        f'<tr class="{line.kind}">'
        + "".join(f'<th scope="row">{escape(name)}</th>' for name in line.stub)
        + "".join(map(cell, line.entries))
        + "</tr>"
        for line in grid.lines
    )
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    below = "".join(f"<li>{escape(note)}</li>" for note in grid.notes)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(caption or 'Leaderboard')}</title><style>{STYLE}</style></head>\n<body>\n<table>{named}\n"
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n<ul>{below}</ul>\n</body>\n</html>\n"
    )


def terminal(grid: Grid) -> Table:
    """The table for rich to print."""
    notes = Text("\n".join(map(_line, grid.notes)), "table.caption")
    table = Table(box=box.SIMPLE_HEAD, caption=notes, caption_justify="left")
    for _ in grid.stub:
        table.add_column("")
    for group, name in grid.heads:
        table.add_column(Text(f"{_line(group)}\n{_line(name)}"), justify="right")
    styles = {"": "", "best": "bold", "second": "underline"}
    for line in grid.lines:
        cells = [
            Text(_line(f"{entry.text}{entry.marks} {entry.spread}".strip()), styles[entry.style])
            for entry in line.entries
        ]
        table.add_row(
            *(Text(_line(name)) for name in line.stub), *cells, style="" if line.kind == "candidate" else "dim"
        )
    return table
