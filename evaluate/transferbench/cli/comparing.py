"""Commands that compare results, and the one that packs them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from transferbench.cli import printing
from transferbench.errors import UserError


def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A name, NAME@WHICH or digest in --in, a checkpoint, record or folder.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise; differences are B minus A.")],
    in_: Annotated[
        list[Path] | None, typer.Option("--in", help="Folder of records to search; can be repeated.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="List this many of the images that changed.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the comparison: .csv or .json.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of data sets (for --samples).")] = None,
) -> None:
    """Compare two candidates on every task that both have: differences, intervals, paired tests."""
    from transferbench import runtime
    from transferbench.comparison import samples as images
    from transferbench.comparison import texts
    from transferbench.comparison.pairs import between

    with between(a, b, printing.places(in_)) as comparison:
        changed = images.changed(comparison, data_root or runtime.data_root())[:samples] if samples else []
    printing.say(texts.text(comparison, changed))
    if out:
        texts.write(out, comparison, changed)
        printing.say(f"\nwrote {out}")


def pack(
    out: Annotated[Path, typer.Argument(help="The archive to write, .zip.")],
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of records, or archives.")] = None,
    in_: printing.In = None,
    artifacts: Annotated[str, typer.Option(help="Artifacts to include: all, predictions or none.")] = "predictions",
) -> None:
    """Put records, predictions, tables and versions into one file, which `evaluate table` reads."""
    from transferbench import sharing

    for note in sharing.pack(out, printing.places(folders, in_), artifacts):
        printing.say(f"Note: {note}", file=sys.stderr)
    printing.say(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


def gate(
    against: Annotated[Path, typer.Option(help="The baseline's records: a folder or an archive.")],
    new: Annotated[
        Path | None,
        typer.Argument(help="The new records: a folder or an archive. Default: results.", show_default=False),
    ] = None,
    in_: printing.In = None,
    tolerance: Annotated[
        list[str] | None, typer.Option(help="How much worse is allowed, in the score's unit; TASK=N for one task.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(min=0, help="Allow this many std over the baseline's seeds instead.")
    ] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Let missing results pass.")] = False,
    both_sides: Annotated[bool, typer.Option("--both-sides", help="Fail on better results too.")] = False,
    every_score: Annotated[
        bool, typer.Option("--every-score", help="Check every score, not only the main ones.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit's XML.")] = None,
) -> None:
    """Compare new results with a baseline; exit 1 if a number is missing or worse than allowed, or a record damaged."""
    from transferbench.comparison import gate as gates
    from transferbench.comparison.gate import texts
    from transferbench.records import collection

    band = gates.band(tolerance or (), sigma, both_sides, every_score)
    places = printing.places([new] if new else [], in_)
    for place in places:
        if place.resolve() == against.resolve():
            raise UserError(f"{place} would be compared with itself. Name the baseline's folder with --against.")
    with collection.opened([against], without=places) as old, collection.opened(places, without=[against]) as checked:
        printing.unreadable(old, checked)
        verdicts = gates.gate(old.records, checked.records, band, allow_missing, str(places[0]))
        damaged = (*old.damaged, *checked.damaged)
    printing.say(texts.text(verdicts, damaged))
    if junit:
        texts.write_junit(junit, verdicts, damaged)
    if damaged or any(verdict.fails for verdict in verdicts):
        raise typer.Exit(1)
