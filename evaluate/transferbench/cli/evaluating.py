"""`evaluate all` and `evaluate TASK`: checkpoints judged."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferbench import garbage, stopping
from transferbench.cli import printing, telling
from transferbench.cli.files import RANGE, SOURCE
from transferbench.errors import UserError

if TYPE_CHECKING:
    from transferbench.records import Record

RUN = "What to run"
PLACE = "How it runs (does not change the result)"


def evaluate_all(
    checkpoints: Annotated[list[str], typer.Argument(help=f"{SOURCE} ROW=... names the row.", show_default=False)],
    data: Annotated[list[str] | None, typer.Option(help="A data set's name, or a folder or zip of images.")] = None,
    suite: Annotated[str | None, typer.Option(help="A suite's name or YAML file. Default: the data set's own.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Only this task; `evaluate TASK` is short for it.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for records and artifacts.")] = Path("results"),
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a setting: JOB.KEY=VALUE.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Run finished jobs again.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the expected time and memory, and stop.", rich_help_panel=RUN)
    ] = False,
    only: Annotated[
        str | None, typer.Option(help="Only these jobs of the suite: knn,semi-10.", rich_help_panel=RUN)
    ] = None,
    skip: Annotated[
        str | None, typer.Option(help="Without these jobs of the suite: detect,linear.", rich_help_panel=RUN)
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Run with seeds 0 to N-1 whatever depends on one.", rich_help_panel=RUN)
    ] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Smoke run: only this many images of each split.", rich_help_panel=RUN)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Judge on val or test, not the data set's own split.", rich_help_panel=RUN)
    ] = None,
    image_range: Annotated[
        tuple[float, float] | None,
        typer.Option(help=RANGE, metavar="LOW HIGH", rich_help_panel=RUN),
    ] = None,
    control: Annotated[
        bool, typer.Option("--control/--no-control", help="Add a random-init row.", rich_help_panel=RUN)
    ] = True,
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
    image_memory: Annotated[
        float | None,
        typer.Option(min=0, help="GiB of decoded images that checkpoints share.", rich_help_panel=PLACE),
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder of data sets.", rich_help_panel=PLACE)] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached features.", rich_help_panel=PLACE)] = None,
    slurm: Annotated[
        str | None,
        typer.Option(help="Submit a SLURM job for each checkpoint: gpus=1,time=2:00:00,...", rich_help_panel=PLACE),
    ] = None,
) -> None:
    """Run every task of a suite on checkpoints. Finished work is not repeated."""
    if slurm is not None:
        _queue(checkpoints, out, slurm)
        return
    _require_known(suite, data or [])
    with garbage.importing():
        from transferbench import api, runtime
    request = api.EvaluationRequest(
        models=checkpoints,
        data=data or [],
        suite=suite,
        task=task,
        only=_named(only, "--only"),
        skip=_named(skip, "--skip"),
        overrides=set_ or [],
        seeds=range(seeds),
        limit=limit,
        split=split,
        image_range=image_range,
        control=control,
        encoder=encoder,
        stated=as_ or [],
    )
    loaders = runtime.worker_count() if workers is None else workers
    runtime.share_cores(loaders)
    execution = api.Execution(
        runtime.start(device),
        out,
        again,
        data_root or runtime.data_root(),
        cache or runtime.cache_root(),
        loaders,
        **({} if image_memory is None else {"image_memory": int(image_memory * 2**30)}),
    )
    done: list[Record] = []
    try:
        with telling.begun(execution.runtime.is_main) as begin:
            work = api.prepare(request, execution, begin)
            if printing.planned(work, execution.runtime.is_main, plan, begin):
                return
        printing.watched(work, execution.runtime.is_main, done)
    except stopping.Interrupted:
        printing.finished(done, execution.runtime.is_main)
        raise
    finally:
        runtime.stop()
    printing.conclude(done, out, execution.runtime.is_main)


def _require_known(suite: str | None, data: list[str]) -> None:
    """Refuse names that nothing has before torch is imported: a suite's, or those of all data sets.

    One data set of several that is not known is told in the records of its jobs.
    """
    from transferbench import suite as suites
    from transferbench.data import require_known

    if suite is not None:
        suites.load(suite)
    refused: list[str] = []
    for name in data:
        try:
            require_known(name)
        except UserError as error:
            refused.append(str(error))
    if data and len(refused) == len(data):
        raise UserError("\n".join(refused))


def _named(names: str | None, option: str) -> list[str]:
    """Names written with commas between them; an option that names nothing is refused: it would mean all."""
    named = [name.strip() for name in (names or "").split(",") if name.strip()]
    if names is not None and not named:
        raise UserError(f"{option} names no job: found '{names}'. Expected names with commas between them: knn,linear.")
    return named


def _queue(checkpoints: list[str], out: Path, request: str) -> None:
    """Submit this command to SLURM, once for each checkpoint."""
    from transferbench.runtime import slurm

    command, *arguments = slurm.arguments_left(sys.argv[1:], checkpoints)
    work = slurm.Work(f"evaluate {command}", "transferbench", [command, *arguments], checkpoints)
    printing.say(slurm.submit(work, slurm.read(request), out / "slurm"))
