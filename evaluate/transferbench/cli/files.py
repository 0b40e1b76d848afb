"""What is done without judging: checkpoints, records and data looked at, converted, fetched; what there is."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from transferbench.cli import printing
from transferbench.errors import UserError, unknown
from transferbench.listing import facts, listings

SOURCE = "A checkpoint's file, or a name: torchvision:NAME, timm:NAME or hf:ORG/NAME."


def table(
    folder: Annotated[Path, typer.Argument(help="Where the records lie.")] = Path("results"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the tables. Default: the same.")] = None,
    limited: Annotated[bool, typer.Option("--limited", help="Show smoke runs too.")] = False,
) -> None:
    """Build CSV, LaTeX and Markdown tables from records, and print the leaderboard."""
    from transferbench import records, tables

    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Run `evaluate all CHECKPOINT --out {folder}` first.")
    found = dict(records.read_all(folder))
    good = [record for record in found.values() if not isinstance(record, ValueError)]
    bad = [record for record in found.values() if isinstance(record, ValueError)]
    if not good:
        raise UserError(f"No records below {folder}: {len(bad)} JSON file(s) that hold none.")
    for reason in bad:
        print(f"Left out: {reason}", file=sys.stderr)
    board = tables.leaderboard(good, limited, len(bad))
    printing.show(board)
    for path in tables.write(out or folder, good, board):
        print(f"wrote {path}")


def inspect_(
    file: Annotated[str, typer.Argument(help=SOURCE)],
    encoder: Annotated[str | None, typer.Option(help="Which network of a file that holds several.")] = None,
    as_: Annotated[list[str] | None, typer.Option("--as", help="What the file does not say: heads=12.")] = None,
    hashes: Annotated[bool, typer.Option("--sha256", help="Hash the whole file too.")] = False,
) -> None:
    """Say what a checkpoint is and how it would be read, without running anything."""
    from transferbench.checkpoints.inspect import inspect

    for name, value in facts(inspect(file, encoder, as_ or [], hashes)).items():
        print(f"{name:13} {value}")


def convert(
    file: Annotated[str, typer.Argument(help=SOURCE)],
    out: Annotated[Path, typer.Argument(help="What to write: .safetensors, .pth, or a folder for huggingface.")],
    to: Annotated[str, typer.Option(help="transferbench, torchvision, timm, detectron2 or huggingface.")],
    encoder: Annotated[str | None, typer.Option(help="Which network of a file that holds several.")] = None,
    as_: Annotated[list[str] | None, typer.Option("--as", help="What the file does not say: heads=12.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write a checkpoint's network for another library: weights only, names exact, read back to prove it."""
    from transferbench.checkpoints.convert import convert as write

    done = write(file, out, to, (encoder, as_ or []), force)
    print(f"wrote {done.path}: {done.architecture} for {done.target}, {done.tensors} tensors, digest {done.digest}")
    print(f"built by {done.built}")
    for note in done.notes:
        print(f"note: {note}")


def ls(
    kind: Annotated[
        str | None, typer.Argument(help="tasks, formats, libraries, targets, data, suites or backbones.")
    ] = None,
) -> None:
    """List what there is to choose from."""
    known = listings()
    if kind is not None and kind not in known:
        raise unknown("kind", kind, known)
    for name in [kind] if kind else known:
        print(name)
        for entry, summary in known[name]():
            print(f"  {entry:16} {summary}")


def download(
    data: Annotated[str, typer.Argument(help="A data set's name.")],
    data_root: Annotated[Path | None, typer.Option(help="Where data sets lie.")] = None,
) -> None:
    """Fetch a data set that may be fetched freely."""
    from transferbench import runtime
    from transferbench.data import download as fetch

    print(f"{data} is at {fetch(data, data_root or runtime.data_root())}")


def doctor(
    data_root: Annotated[Path | None, typer.Option(help="Where data sets lie.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where features are kept.")] = None,
) -> None:
    """Say what works on this machine, and the one command that mends what does not."""
    from transferbench import doctor as examination
    from transferbench import runtime

    checks = examination.examine(data_root or runtime.data_root(), cache or runtime.cache_root())
    for check in checks:
        print(f"{check.status:9} {check.name:14} {check.found}")
        if check.status != "ok" and check.mend:
            print(f"{'':24} -> {check.mend}")
    if any(check.is_broken for check in checks):
        raise typer.Exit(1)
