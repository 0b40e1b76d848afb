"""`pretrain compare`: several methods trained alike, and their table."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decorssl.catalog import METHODS, recipe_file
from decorssl.cli.options import PLACE, RECIPE, Placed, RecipeOptions, StartOptions, spread
from decorssl.cli.training import say
from transferbench import garbage
from transferbench.errors import UserError, unknown
from transferbench.plugins import is_outside

if TYPE_CHECKING:
    from transferbench.api import EvaluationRequest
    from transferbench.records import Record

RESULTS = "results"
"""The folder of records and tables within that of the runs."""


@spread
def compare(
    choice: RecipeOptions,
    start: StartOptions,
    placed: Placed,
    methods: Annotated[list[str], typer.Argument(help="Methods, as `pretrain ls` lists them.", show_default=False)],
    seeds: Annotated[int, typer.Option(min=1, help="Train with seeds 0 to N-1.", rich_help_panel=RECIPE)] = 1,
    suite: Annotated[
        str | None, typer.Option(help="Judge by this suite. Default: the data set's own.", rich_help_panel=RECIPE)
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Judge on these data. Default: those trained on.", rich_help_panel=RECIPE)
    ] = None,
    slurm: Annotated[
        str | None, typer.Option(help="A SLURM job for each method: gpus=1,time=24:00:00,...", rich_help_panel=PLACE)
    ] = None,
) -> None:
    """Train several methods with one recipe, judge them beside random networks, print the table. Repeat to continue."""
    names = [name if is_outside(name) else name.replace("-", "_") for name in methods]
    for name in names:
        if not is_outside(name) and name not in METHODS.names():
            raise unknown("method", name, METHODS.names())
    if start.seed is not None:
        raise UserError("The seeds of a comparison are 0 to N-1: --seeds N.")
    if start.recipe is not None:
        recipe_file(start.recipe)
    out = choice.out or Path("runs") / f"compare-{Path((choice.data or ['digits'])[0]).stem}"
    if slurm is not None:
        _queue(methods, out, slurm)
        return
    with garbage.importing():
        from decorssl import contest
    from transferbench import runtime

    place = placed.place()
    root = place.data_root or runtime.data_root()
    runs = contest.entries(names, (start.recipe, start.arch), seeds, choice.overrides(), out, root)
    judged = contest.judged_on(runs, judge, root)
    if stopped := contest.train(runs, place, say):
        say("Stopped and saved. Run the same command to continue.")
        raise typer.Exit(128 + stopped)
    lost = [f"{Path(each.recipe.method).stem} seed {each.recipe.seed}" for each in runs if each.has_failed]
    if lost:
        say(f"Not in the table, since their losses ceased to be finite: {', '.join(lost)}.")
    backbones = [each.backbone for each in runs if not each.has_failed]
    if not backbones:
        raise UserError("No run ended with a backbone: no loss stayed finite. Try a lower learning rate: --lr.")
    from transferbench import api

    request = api.EvaluationRequest(models=backbones, data=[judged], suite=suite, image_range=choice.image_range)
    _judge(request, out / RESULTS, placed)


def _judge(request: "EvaluationRequest", out: Path, placed: Placed) -> None:
    """Run the suite on every backbone, and print and write the table."""
    from transferbench import api, runtime, stopping
    from transferbench.cli import printing, tabulating

    workers = runtime.worker_count() if placed.workers is None else placed.workers
    roots = placed.data_root or runtime.data_root(), runtime.cache_root()
    execution = api.Execution(runtime.start(placed.device), out, False, *roots, workers)
    done: list[Record] = []
    try:
        printing.watched(api.prepare(request, execution), True, done)
    except stopping.Interrupted:
        printing.finished(done, True)
        raise
    finally:
        runtime.stop()
    tabulating.table([out])
    failed = [record for record in done if record.status == "failed"]
    for record in failed:
        printing.say(f"\nFAILED {record.candidate} {record.dataset} {record.label}: {record.error}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _queue(methods: list[str], out: Path, request: str) -> None:
    """Submit this command to SLURM, once for each method."""
    from transferbench.runtime import slurm

    command, *arguments = slurm.arguments_left(sys.argv[1:], methods)
    work = slurm.Work("pretrain compare", "decorssl", [command, *arguments], methods)
    say(slurm.submit(work, slurm.read(request), out / "slurm"))
    say(f"When all have ended, the table: evaluate table {out / RESULTS}")
