"""`show`: the settings there are, drawn on a terminal, as plain text of full width elsewhere."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from transferbench import garbage

if TYPE_CHECKING:
    from rich.console import RenderableType

    from transferbench.sheets import Sheet, SheetTable

WORDS = 28
"""Columns that a meaning has at least on a terminal."""
FULL = 10_000
"""A width that no line reaches."""


def show(
    name: Annotated[
        str, typer.Argument(help="A task (also by its import path), a suite, a detection recipe, or a YAML file.")
    ],
) -> None:
    """Print every setting with its type, range, default and meaning, and what presets stand for."""
    with garbage.importing():
        from transferbench.sheets import sheet

        found = sheet(name)
    draw(found)


def draw(sheet: "Sheet") -> None:
    """Print a sheet."""
    from rich.console import Console

    is_drawn = sys.stdout.isatty()
    console = Console(highlight=False) if is_drawn else Console(width=FULL, no_color=True, highlight=False)
    with console.capture() as captured:
        for part in _parts(sheet, is_drawn):
            console.print(part, markup=False)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _parts(sheet: "Sheet", is_drawn: bool) -> "list[RenderableType]":
    from rich.text import Text

    strong = "bold" if is_drawn else ""
    parts: list[RenderableType] = [Text(sheet.title, strong), sheet.text]
    for grid in sheet.grids:
        parts += ["", Text(grid.caption, strong), _table(grid, is_drawn)]
    return [*parts, "", *sheet.examples] if sheet.examples else parts


def _table(grid: "SheetTable", is_drawn: bool) -> "RenderableType":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if is_drawn else None, pad_edge=False, show_edge=False, padding=(0, 1))
    for head in grid.heads:
        least = WORDS if head == "meaning" and is_drawn else None
        table.add_column(head, no_wrap=not is_drawn or head == "name", overflow="fold", min_width=least)
    for line in grid.lines:
        table.add_row(*map(Text, line))
    return table
