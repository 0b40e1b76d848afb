"""Commands about numbers: tables of records, and what was published."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from transferbench.cli import printing
from transferbench.errors import UserError

PAPERS = "Papers' numbers"
FORM = "How it is laid out"


def table(
    folder: Annotated[Path, typer.Argument(help="Where the records lie.")] = Path("results"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the tables. Default: the same.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only records with FIELD=PATTERN: method=intl*, epochs>=100.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="In this order: knn,cifar10.*,spectrum.stable_rank,*.top5")
    ] = None,
    sort: Annotated[str, typer.Option(help="rank, name, epochs, or a column: its best first.")] = "rank",
    limited: Annotated[bool, typer.Option("--limited", help="Show smoke runs too.")] = False,
    published: Annotated[
        bool, typer.Option("--published/--no-published", help="Papers' numbers beside.", rich_help_panel=PAPERS)
    ] = True,
    context: Annotated[
        bool, typer.Option("--context", help="Rows of what was published otherwise.", rich_help_panel=PAPERS)
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, help="How far from a paper's number is within.", rich_help_panel=PAPERS)
    ] = 1.0,
    merge: Annotated[
        bool, typer.Option("--merge", help="One column for all protocols of a task.", rich_help_panel=FORM)
    ] = False,
    ranks: Annotated[bool, typer.Option("--ranks", help="Mean rank, Borda, average.", rich_help_panel=FORM)] = False,
    transpose: Annotated[bool, typer.Option("--transpose", help="Tasks as lines.", rich_help_panel=FORM)] = False,
    caption: Annotated[str, typer.Option(help="What the table is called.", rich_help_panel=FORM)] = "",
    label: Annotated[str, typer.Option(help="LaTeX's label.", rich_help_panel=FORM)] = "",
) -> None:
    """Build CSV, LaTeX, Markdown, HTML and JSON tables from records, and print the leaderboard."""
    from transferbench import comparison, records, tables

    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Run `evaluate all CHECKPOINT --out {folder}` first.")
    found = dict(records.read_all(folder))
    good = [record for record in found.values() if not isinstance(record, ValueError)]
    bad = [record for record in found.values() if isinstance(record, ValueError)]
    if not good:
        raise UserError(f"No records below {folder}: {len(bad)} JSON file(s) that hold none.")
    for reason in bad:
        print(f"Left out: {reason}", file=sys.stderr)
    shown = tuple(part.strip() for text in columns or () for part in text.split(","))
    choice = tables.Choice(tuple(where or ()), shown, sort, limited, published, context, tolerance, merge)
    form = tables.Form(ranks, transpose, caption, label)
    board = tables.leaderboard(good, choice, len(bad), lambda record: comparison.hits(record, folder))
    printing.show(board, form)
    for path in tables.write(out or folder, good, board, form):
        print(f"wrote {path}")


def published_(
    method: Annotated[str, typer.Option(help="Such as intl; * stands for anything.")] = "*",
    data: Annotated[str, typer.Option(help="The data set it was judged on.")] = "*",
    task: Annotated[str, typer.Option(help="Such as linear, knn, semi, detect.")] = "*",
) -> None:
    """List the numbers that papers report, with their sources."""
    from transferbench.listing import published

    print("\n".join(published(method, data, task)))
