"""The `evaluate` command: its options, what it prints and its exit codes."""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from transferbench.errors import UserError, unknown
from transferbench.listing import TASKS, facts, listings

if TYPE_CHECKING:
    from transferbench.api import Evaluation
    from transferbench.records import Record
    from transferbench.tables import Form, Leaderboard

ABOUT = """
Judge self-supervised checkpoints on the protocols the field publishes.

\b
evaluate all runs/intl/backbone.safetensors   on the embedded digits
evaluate all INTL=a.pth MoCo=b.pth --data D   two files on train/, val/ of D
evaluate all a.pth --seeds 3 --out results    three seeds; resumes by itself
evaluate knn a.pth --set knn.k=5              one task, one setting changed
evaluate table results                        CSV, LaTeX and Markdown
evaluate report results                       all of it as one HTML page
evaluate inspect a.pth                        what a file is
evaluate convert a.pth b.pth --to torchvision the same weights, other names
evaluate ls                                   what there is to choose from
evaluate doctor                               what works on this machine
"""
RUN = "What is run"
PLACE = "Where and how it runs (cannot change the result)"
JUDGE = "all"
PAPERS = "Papers' numbers"
FORM = "How it is laid out"
LONG = 120
"""Seconds from which on a run is announced with its plan."""


class Commands(TyperGroup):
    """The commands, and one for each file in the folder of tasks, which is not imported for it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command's name; tasks last."""
        return [*super().list_commands(ctx), *TASKS.names()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, which for a task is `all` under the task's name.

        Raises:
            UserError: when there is none, with the nearest name.
        """
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        if "." not in cmd_name and cmd_name.replace("-", "_") not in TASKS.names():
            raise unknown("command", cmd_name, self.list_commands(ctx))
        judging = super().get_command(ctx, JUDGE)
        assert judging is not None
        return _for_task(judging, cmd_name)


def _for_task(judging: Any, name: str) -> Any:
    """The command `all` with its option `--task` set."""
    command = copy.copy(judging)
    command.name, command.short_help = name, None
    command.help = TASKS.summary(name.replace("-", "_")) if "." not in name else f"The task {name}."
    command.rich_help_panel = "Tasks: as `all`, with this task only"
    command.params = [copy.copy(param) for param in judging.params]
    for param in command.params:
        if param.name == "task":
            param.default, param.hidden = name, True
    return command


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=ABOUT,
    no_args_is_help=True,
)


@app.command(JUDGE)
def judge(
    checkpoints: Annotated[list[str], typer.Argument(help="Files; NAME=FILE names the row.", show_default=False)],
    data: Annotated[list[str] | None, typer.Option(help="A data set's name, or a folder or zip of images.")] = None,
    suite: Annotated[str | None, typer.Option(help="A suite's name or YAML file. Default: the data set's own.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Only this task; `evaluate TASK` is short for it.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for records and artifacts.")] = Path("results"),
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a setting: JOB.KEY=VALUE.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Run what is finished once more.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what it would take here, and stop.", rich_help_panel=RUN)
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Run every job with seeds 0 to N-1.", rich_help_panel=RUN)] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Smoke run: so many images of each split.", rich_help_panel=RUN)
    ] = None,
    control: Annotated[
        bool, typer.Option("--control/--no-control", help="A random-init row.", rich_help_panel=RUN)
    ] = True,
    encoder: Annotated[
        str | None, typer.Option(help="Which network of a file that holds several.", rich_help_panel=RUN)
    ] = None,
    as_: Annotated[
        list[str] | None, typer.Option("--as", help="What a file does not say: heads=12.", rich_help_panel=RUN)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=PLACE)] = "auto",
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", min=0, help="Loader processes.", rich_help_panel=PLACE)
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where data sets lie.", rich_help_panel=PLACE)] = None,
    cache: Annotated[Path | None, typer.Option(help="Where features are kept.", rich_help_panel=PLACE)] = None,
) -> None:
    """Every task of a suite on checkpoints. Finished work is not run again."""
    from transferbench import api, runtime

    with _interruptible():
        request = api.Request(
            models=checkpoints,
            data=data or [],
            suite=suite,
            task=task,
            overrides=set_ or [],
            seeds=range(seeds),
            limit=limit,
            control=control,
            encoder=encoder,
            stated=as_ or [],
        )
        loaders = runtime.worker_count() if workers is None else workers
        runtime.share_cores(loaders)
        place = api.Place(
            runtime.start(device),
            out,
            again,
            data_root or runtime.data_root(),
            cache or runtime.cache_root(),
            loaders,
        )
        try:
            work = api.prepare(request, place)
            if _planned(work, place.runtime.is_main, plan):
                return
            found = _watched(work, place.runtime.is_main)
        finally:
            runtime.stop()
    _conclude(found, out, place.runtime.is_main)


@app.command()
def table(
    folder: Annotated[Path, typer.Argument(help="Where the records lie.")] = Path("results"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the tables. Default: the same.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only records with FIELD=PATTERN: method=intl*, epochs>=100.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="In this order: knn, cifar10.*, spectrum.stable_rank, *.top5.")
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
    choice = tables.Choice(
        tuple(where or ()), tuple(columns or ()), sort, limited, published, context, tolerance, merge
    )
    form = tables.Form(ranks, transpose, caption, label)
    board = tables.leaderboard(good, choice, len(bad), lambda record: comparison.hits(record, folder))
    _show(board, form)
    for path in tables.write(out or folder, good, board, form):
        print(f"wrote {path}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Where the records lie.")] = Path("results"),
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    figures: Annotated[Path | None, typer.Option(help="Folder for the figures as PNG and PDF.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only records with FIELD=PATTERN: method=intl*, epochs>=100.")
    ] = None,
    limited: Annotated[bool, typer.Option("--limited", help="Show smoke runs too.")] = False,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Neighbours as images.")] = True,
    data_root: Annotated[Path | None, typer.Option(help="Where data sets lie.", rich_help_panel=PLACE)] = None,
    cache: Annotated[Path | None, typer.Option(help="Where features are kept.", rich_help_panel=PLACE)] = None,
) -> None:
    """Make one HTML page of all that was recorded: leaderboard, curves, spectra, maps, confusions, neighbours."""
    from transferbench import report as reports
    from transferbench import runtime, tables

    found = reports.read(folder)
    for reason in found.values():
        if isinstance(reason, ValueError):
            print(f"Left out: {reason}", file=sys.stderr)
    sources = reports.Sources(data_root or runtime.data_root(), cache or runtime.cache_root(), images)
    made = reports.build(found, tables.Choice(tuple(where or ()), limited=limited), sources)
    for path in (made.write(out), *(made.write_figures(figures) if figures else ())):
        print(f"wrote {path}")


@app.command("published")
def published_(
    method: Annotated[str, typer.Option(help="Such as intl; * stands for anything.")] = "*",
    data: Annotated[str, typer.Option(help="The data set it was judged on.")] = "*",
    task: Annotated[str, typer.Option(help="Such as linear, knn, semi, detect.")] = "*",
) -> None:
    """List the numbers that papers report, with their sources."""
    from transferbench.listing import published

    print("\n".join(published(method, data, task)))


@app.command("inspect")
def inspect_(
    file: Annotated[Path, typer.Argument(help="A checkpoint.")],
    encoder: Annotated[str | None, typer.Option(help="Which network of a file that holds several.")] = None,
    as_: Annotated[list[str] | None, typer.Option("--as", help="What the file does not say: heads=12.")] = None,
    hashes: Annotated[bool, typer.Option("--sha256", help="Hash the whole file too.")] = False,
) -> None:
    """Say what a checkpoint is and how it would be read, without running anything."""
    from transferbench.checkpoints.inspect import inspect

    for name, value in facts(inspect(file, encoder, as_ or [], hashes)).items():
        print(f"{name:13} {value}")


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="A checkpoint.")],
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


@app.command()
def ls(
    kind: Annotated[str | None, typer.Argument(help="tasks, formats, targets, data, suites or backbones.")] = None,
) -> None:
    """List what there is to choose from."""
    known = listings()
    if kind is not None and kind not in known:
        raise unknown("kind", kind, known)
    for name in [kind] if kind else known:
        print(name)
        for entry, summary in known[name]():
            print(f"  {entry:16} {summary}")


@app.command()
def download(
    data: Annotated[str, typer.Argument(help="A data set's name.")],
    data_root: Annotated[Path | None, typer.Option(help="Where data sets lie.")] = None,
) -> None:
    """Fetch a data set that may be fetched freely."""
    from transferbench import runtime
    from transferbench.data import download as fetch

    print(f"{data} is at {fetch(data, data_root or runtime.data_root())}")


@app.command()
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


def _planned(work: "Evaluation", is_main: bool, is_all: bool) -> bool:
    """Print the plan when it is asked for or the run is long; whether it is all that was asked for."""
    from transferbench import forecast

    if is_main:
        estimates = work.plan()
        if is_all or sum(each.seconds for each in estimates) >= LONG:
            print("\n".join(forecast.lines(estimates)), flush=True)
    return is_all


def _watched(work: "Evaluation", is_main: bool) -> "list[Record]":
    """Run the work, printing what was read and each result as it comes."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from transferbench import records, tables

    for text in [*map(tables.loaded, work.candidates), *work.notes] if is_main else ():
        print(text, flush=True)
    started, found = records.now(), []
    names = [f"{candidate.name} {job.data} {job.id}" for candidate in work.candidates for job in work.jobs]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *times, disable=not (is_main and sys.stdout.isatty()), transient=True) as progress:
        bar = progress.add_task(names[0], total=len(names))
        for record in work.run(lambda done, total: progress.update(bar, completed=len(found) + done / total)):
            found.append(record)
            if is_main:
                print(tables.line(record, is_old=record.written < started), flush=True)
            progress.update(bar, completed=len(found), description=[*names, ""][len(found)])
    return found


def _conclude(found: "list[Record]", out: Path, is_main: bool) -> None:
    """Print the leaderboard and what went wrong; exit with 1 after a bug, with 2 after what a person can mend."""
    from transferbench import tables

    failed = [record for record in found if record.status == "failed"]
    if is_main:
        _show(tables.leaderboard(found, tables.Choice(limited=True)))
        print(f"Records lie in {out}. `evaluate table {out}` makes CSV, LaTeX and Markdown of all that lie there.")
        for record in failed:
            print(f"\nFAILED {record.candidate} {record.dataset} {record.label}: {record.error}", file=sys.stderr)
    if failed:
        raise typer.Exit(1 if any(record.is_bug for record in failed) else 2)


def _show(board: "Leaderboard", form: "Form | None" = None) -> None:
    """Print a leaderboard: drawn on a terminal, as Markdown elsewhere."""
    from rich.console import Console

    from transferbench import tables

    laid = (form or tables.Form()).laid(board)
    if not board.columns:
        print("\n".join(["Nothing to rank.", *laid.notes]))
    elif sys.stdout.isatty():
        Console().print(tables.terminal(laid))
    else:
        print(tables.markdown(laid))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C inside the block ends the program with 130 and says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nStopped. Finished records are kept; run the same command again to go on.", file=sys.stderr)
        raise typer.Exit(130) from None


def main() -> None:
    """Run the command line; what a person can mend is told bare, with exit code 2."""
    try:
        app()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
