"""What is done without judging: checkpoints, records and data looked at, converted, fetched; what there is."""

from pathlib import Path
from typing import Annotated

import typer

from transferbench.cli import printing
from transferbench.errors import unknown
from transferbench.listing import facts, listings

SOURCE = "A checkpoint's file, or a name: torchvision:NAME, timm:NAME or hf:ORG/NAME."


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


def shrink(
    data: Annotated[str, typer.Argument(help="A data set's name or path.")],
    out: Annotated[Path, typer.Argument(help="The folder for the copy; goes on with one that was stopped.")],
    size: Annotated[int, typer.Option(min=8, help="Pixels of the shorter side; smaller images stay.")] = 256,
    quality: Annotated[int, typer.Option(min=1, max=95, help="JPEG's, on PIL's scale.")] = 95,
    workers: Annotated[int | None, typer.Option("--workers", "-j", min=0, help="Processes.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where data sets lie.")] = None,
) -> None:
    """Copy a data set with smaller images, which decode faster; it is another data set, and records say so."""
    from transferbench import runtime
    from transferbench.data import open_split, shrinking

    root, processes = data_root or runtime.data_root(), runtime.worker_count() if workers is None else workers
    train = open_split(data, "train", root)
    splits = [train, open_split(data, train.info.test_split, root)]
    copies = shrinking.shrink(splits, out, shrinking.Shape(size, quality), processes)
    for _ in printing.counted(copies, sum(map(len, splits)), "images"):
        pass
    print(f"The copy is in {out}. Use it by its path: --data {out}/")


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
