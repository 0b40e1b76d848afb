"""`evaluate features`: what a checkpoint makes of images, as arrays in a file."""

from pathlib import Path
from typing import Annotated

import typer

from transferbench import garbage
from transferbench.cli import printing, telling
from transferbench.cli.evaluating import PLACE, RUN
from transferbench.cli.files import RANGE, SOURCE

EPILOG = """
\b
In Python:  found = numpy.load("f.npz")
            found["train_features"]    n x d, float32, not normalized
            found["train_labels"]      n numbers of found["classes"], -1: none
            found["train_ids"]         n names of images
            json.loads(str(found["about"]))    digest, fingerprints, settings
\b
evaluate features a.pth --data D -o f.npz --set layer=layer3 --set pooling=max
\b
`evaluate show TASK` says what each setting means; the names here are those of any task that reads features.
"""


def features(
    checkpoint: Annotated[str, typer.Argument(help=SOURCE, show_default=False)],
    data: Annotated[str, typer.Option(help="A data set's name, or a folder or zip of images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, .npz.")],
    split: Annotated[str, typer.Option(help="train, val or test; all: those that there are.")] = "all",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="What is read of the backbone: layer=layer3, pooling=max.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what exists.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only this many images of each split.", rich_help_panel=RUN)
    ] = None,
    image_range: Annotated[
        tuple[float, float] | None, typer.Option(help=RANGE, metavar="LOW HIGH", rich_help_panel=RUN)
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Which network, if the file holds several.", rich_help_panel=RUN)
    ] = None,
    as_: Annotated[
        list[str] | None, typer.Option("--as", help="State what the file does not tell: heads=12.", rich_help_panel=RUN)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=PLACE)] = "auto",
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", min=0, help="Number of loader processes.", rich_help_panel=PLACE)
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of data sets.", rich_help_panel=PLACE)] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached features.", rich_help_panel=PLACE)] = None,
) -> None:
    """Write the features, labels and names of a data set's images as arrays, with all that they depend on."""
    with garbage.importing():
        from transferbench import extracted, runtime, settings, state, tables
        from transferbench.features.spec import FeatureSpec
    extracted.require_place(out, force)
    spec = settings.read(FeatureSpec, {}, set_ or [])
    asked = extracted.ExtractionRequest(checkpoint, data, split, spec, limit, image_range, None, encoder, as_ or [])
    loaders = runtime.worker_count() if workers is None else workers
    runtime.share_cores(loaders)
    place = cache or runtime.cache_root()
    if not place.is_dir():
        state.require_writable(place, "--cache")
    try:
        here = runtime.start(device)
        with telling.begun(here.is_main) as begin:
            begin(f"reading {checkpoint} and {data}")
            work = extracted.prepare(asked, data_root or runtime.data_root())
        state.require_other(out, work.candidate.path)
        for text in [tables.loaded(work.candidate), *work.notes] if here.is_main else ():
            printing.say(text, flush=True)
        with printing.progress_bar(here.is_main) as progress, telling.begun(here.is_main) as begin:
            count = sum(map(len, work.images.values()))
            bar = progress.add_task("images", total=count)

            def report(done: int, total: int) -> None:
                progress.update(bar, completed=done)
                begin(f"{done} of {total} images")

            report(0, count)
            found = work.run(here, place, loaders, report)
        if here.is_main:
            found.write(out, force)
            printing.say(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
            for name, each in found.splits.items():
                n, d = each.features.shape
                printing.say(f"  {name}_features {n} x {d}, {name}_labels, {name}_ids")
    finally:
        runtime.stop()
