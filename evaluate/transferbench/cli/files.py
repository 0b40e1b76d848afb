"""Commands that evaluate nothing: inspect and convert checkpoints, list, download and shrink data, cache, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from transferbench import garbage
from transferbench.cli import printing
from transferbench.errors import UserError, unknown
from transferbench.listing import facts, listings

RANGE = "The values of black and white in images of more than 8 bits a channel."
SOURCE = "A checkpoint's file, or a name: torchvision:NAME, timm:NAME or hf:ORG/NAME."


def inspect_(
    file: Annotated[str, typer.Argument(help=SOURCE)],
    encoder: Annotated[str | None, typer.Option(help="Which network, if the file holds several.")] = None,
    as_: Annotated[list[str] | None, typer.Option("--as", help="State what the file does not tell: heads=12.")] = None,
    hashes: Annotated[bool, typer.Option("--sha256", help="Hash the whole file too.")] = False,
    keys: Annotated[bool, typer.Option("--keys", help="Name every tensor that is left out.")] = False,
) -> None:
    """Say what a checkpoint is and how it would be read, without running anything."""
    with garbage.importing():
        from transferbench.checkpoints.inspect import inspect
    for name, value in facts(inspect(file, encoder, as_ or [], hashes), keys).items():
        printing.say(f"{name:13} {value}")


def convert(
    file: Annotated[str, typer.Argument(help=SOURCE)],
    out: Annotated[Path, typer.Argument(help="What to write: .safetensors, .pth, or a folder for huggingface.")],
    to: Annotated[str, typer.Option(help="transferbench, torchvision, timm, detectron2 or huggingface.")],
    encoder: Annotated[str | None, typer.Option(help="Which network, if the file holds several.")] = None,
    as_: Annotated[list[str] | None, typer.Option("--as", help="State what the file does not tell: heads=12.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what exists.")] = False,
) -> None:
    """Write a checkpoint's network for another library: weights only, exact names, verified by reading it back."""
    with garbage.importing():
        from transferbench.checkpoints.convert import convert as write
    done = write(file, out, to, (encoder, as_ or []), force)
    printing.say(
        f"wrote {done.path}: {done.architecture} for {done.target}, {done.tensors} tensors, digest {done.digest}"
    )
    printing.say(f"built by {done.built}")
    for note in done.notes:
        printing.say(f"note: {note}")


def ls(
    kind: Annotated[
        str | None, typer.Argument(help="tasks, formats, libraries, targets, data, suites or backbones.")
    ] = None,
) -> None:
    """List tasks, suites, data sets, formats, libraries, targets and backbones."""
    known = listings()
    if kind is not None and kind not in known:
        raise unknown("kind", kind, known)
    for name in [kind] if kind else known:
        printing.say(name)
        for entry, summary in known[name]():
            printing.say(f"  {entry:17} {summary}")


def download(
    data: Annotated[str, typer.Argument(help="A data set's name.")],
    data_root: Annotated[Path | None, typer.Option(help="Folder of data sets.")] = None,
) -> None:
    """Download a data set that is freely available."""
    from transferbench import runtime
    from transferbench.data import download as fetch

    printing.say(f"{data} is at {fetch(data, data_root or runtime.data_root())}")


def shrink(
    data: Annotated[str, typer.Argument(help="A data set's name or path.")],
    out: Annotated[Path, typer.Argument(help="Folder for the copy; an interrupted copy is continued.")],
    size: Annotated[
        int, typer.Option(min=8, help="Pixels of the shorter side; smaller images are kept as they are.")
    ] = 256,
    quality: Annotated[int, typer.Option(min=1, max=95, help="JPEG quality, on PIL's scale.")] = 95,
    image_range: Annotated[tuple[float, float] | None, typer.Option(help=RANGE, metavar="LOW HIGH")] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-j", min=0, help="Processes.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of data sets.")] = None,
) -> None:
    """Copy a data set with smaller images, which decode faster; records treat the copy as another data set."""
    from transferbench import runtime
    from transferbench.data import looked_at, open_split, shrinking
    from transferbench.data.dataset import open_dataset

    root, processes = data_root or runtime.data_root(), runtime.worker_count() if workers is None else workers
    opened = open_dataset(lambda split: looked_at(open_split(data, split, root).ranged(image_range)))
    printing.say("\n".join(opened.notes), end="\n" * bool(opened.notes))
    splits = [opened.train, opened.test]
    copies = shrinking.shrink(splits, out, shrinking.Shape(size, quality), processes)
    for _ in printing.counted(copies, sum(map(len, splits)), "images"):
        pass
    printing.say(f"The copy is in {out}. Use it by its path: --data {out}/")


def cache(
    cache: Annotated[Path | None, typer.Option(help="Folder of cached features.")] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Free what --older and --size say.")] = False,
    older: Annotated[float | None, typer.Option(min=0, help="Free what was not used for so many days.")] = None,
    size: Annotated[float | None, typer.Option(min=0, help="Free the least recently used beyond so many GiB.")] = None,
) -> None:
    """Say how large the cache of features is; free some of it, which is then computed again when it is needed."""
    from transferbench import runtime
    from transferbench.features import pruning

    folder = cache or runtime.cache_root()
    if prune != (older is not None or size is not None):
        raise UserError("To free some of the cache say how much: --prune with --older DAYS, --size GIB or both.")
    if prune:
        gone = pruning.prune(folder, older, None if size is None else size * 2**30)
        printing.say(f"freed {pruning.total(gone) / 2**20:,.1f} MiB: {len(gone)} extracted or searched")
    left = pruning.entries(folder)
    printing.say(f"{folder}: {len(left)} extracted or searched, {pruning.total(left) / 2**20:,.1f} MiB")


def doctor(
    data_root: Annotated[Path | None, typer.Option(help="Folder of data sets.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached features.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of records.")] = Path("results"),
) -> None:
    """Check this machine, and print the command that fixes each problem."""
    from transferbench import doctor as examination
    from transferbench import runtime

    checks = examination.examine(data_root or runtime.data_root(), cache or runtime.cache_root(), out)
    for check in checks:
        printing.say(f"{check.status:9} {check.name:14} {check.detail}")
        if check.status != "ok" and check.mend:
            printing.say(f"{'':24} -> {check.mend}")
    if any(check.is_broken for check in checks):
        raise typer.Exit(1)
