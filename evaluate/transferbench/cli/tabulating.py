"""Commands for tables, the report, and published numbers."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferbench import garbage
from transferbench.cli import printing
from transferbench.cli.evaluating import PLACE
from transferbench.errors import UserError

if TYPE_CHECKING:
    from transferbench.records.collection import Collection
    from transferbench.tables import Choice, Form

PAPERS = "Papers' numbers"
FORM = "Layout"


def table(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of records, or archives.")] = None,
    in_: printing.In = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the tables. Default: the folder of records, if there is one only."
        ),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only records with FIELD=PATTERN: method=intl*, epochs>=100.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="Columns in this order: knn,cifar10.*,spectrum.stable_rank,*.top5")
    ] = None,
    sort: Annotated[str, typer.Option(help="rank, name, epochs, or a column (best first).")] = "rank",
    limited: Annotated[bool, typer.Option("--limited", help="Include smoke runs.")] = False,
    published: Annotated[
        bool, typer.Option("--published/--no-published", help="Show papers' numbers beside.", rich_help_panel=PAPERS)
    ] = True,
    context: Annotated[
        bool, typer.Option("--context", help="Add other published numbers as rows.", rich_help_panel=PAPERS)
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Distance from a paper's number that counts as within.", rich_help_panel=PAPERS)
    ] = 1.0,
    merge: Annotated[
        bool, typer.Option("--merge", help="One column for all protocols of a task.", rich_help_panel=FORM)
    ] = False,
    ranks: Annotated[
        bool, typer.Option("--ranks", help="Add mean rank, Borda, average.", rich_help_panel=FORM)
    ] = False,
    transpose: Annotated[bool, typer.Option("--transpose", help="Tasks as rows.", rich_help_panel=FORM)] = False,
    caption: Annotated[str, typer.Option(help="The table's caption.", rich_help_panel=FORM)] = "",
    label: Annotated[str, typer.Option(help="LaTeX's label.", rich_help_panel=FORM)] = "",
) -> None:
    """Build CSV, LaTeX, Markdown, HTML and JSON tables from records, and print the leaderboard."""
    from transferbench.tables import Choice, Form

    shown = tuple(part.strip() for text in columns or () for part in text.split(","))
    choice = Choice(tuple(where or ()), shown, sort, limited, published, context, tolerance, merge)
    places = printing.places(folders, in_)
    with _opened(places) as there:
        place = out or (places[0] if len(places) == 1 and places[0].is_dir() else None)
        _tabulate(there, choice, Form(ranks, transpose, caption, label), place)


@contextmanager
def _opened(places: list[Path]) -> Iterator["Collection"]:
    """The records in folders and archives, what is left out of them told on stderr."""
    from transferbench.records import collection

    with garbage.uncollected(), collection.opened(places) as there:
        if not there.stored:
            problem = f"{len(there.unreadable)} JSON file(s) that hold none"
            raise UserError(f"No records below {', '.join(map(str, places))}: {problem}.")
        printing.unreadable(there)
        yield there


def _tabulate(there: "Collection", choice: "Choice", form: "Form", place: Path | None) -> None:
    """Print the leaderboard and write the tables, if it is known where."""
    from transferbench import comparison, tables

    outputs = {each.record.record_sha256: each.out for each in there.stored}
    board = tables.leaderboard(
        there.records,
        choice,
        len(there.unreadable),
        lambda record: comparison.hits(record, outputs[record.record_sha256]),
    )
    printing.show(board, form)
    for path in tables.write(place, there.records, board, form) if place else ():
        printing.say(f"wrote {path}")
    if not board.columns:
        printing.say("Nothing was written.")
    elif place is None:
        printing.say("Nothing was written: name a folder with --out FOLDER.")


def report(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of records, or archives.")] = None,
    in_: printing.In = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    figures: Annotated[Path | None, typer.Option(help="Folder for the figures as PNG and PDF.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only records with FIELD=PATTERN: method=intl*, epochs>=100.")
    ] = None,
    limited: Annotated[bool, typer.Option("--limited", help="Include smoke runs.")] = False,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Include images of the data.")] = True,
    data_root: Annotated[Path | None, typer.Option(help="Folder of data sets.", rich_help_panel=PLACE)] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached features.", rich_help_panel=PLACE)] = None,
) -> None:
    """Make one HTML page of what was recorded: leaderboard, curves, spectra, maps, confusions, neighbors, findings."""
    from transferbench import report as reports
    from transferbench import runtime, state, tables

    state.require_replaceable(out)
    choice = tables.Choice(tuple(where or ()), limited=limited)
    sources = reports.Sources(data_root or runtime.data_root(), cache or runtime.cache_root(), images)
    with _opened(printing.places(folders, in_)) as there:
        made = reports.build(there, choice, sources, lambda text: printing.say(text, file=sys.stderr, flush=True))
    for path in (made.write(out), *(made.write_figures(figures) if figures else ())):
        printing.say(f"wrote {path}")


def published_(
    method: Annotated[str, typer.Option(help="Such as intl; * matches anything.")] = "*",
    data: Annotated[str, typer.Option(help="The data set of the evaluation.")] = "*",
    task: Annotated[str, typer.Option(help="Such as linear, knn, semi, detect.")] = "*",
) -> None:
    """List the numbers that papers report, with their sources."""
    from transferbench.listing import published

    printing.say("\n".join(published(method, data, task)))
