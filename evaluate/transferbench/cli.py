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
    from transferbench.collection import Collection
    from transferbench.records import Record
    from transferbench.tables import Leaderboard

ABOUT = """
Judge self-supervised checkpoints on the protocols the field publishes.

\b
evaluate all runs/intl/backbone.safetensors   on the embedded digits
evaluate all INTL=a.pth MoCo=b.pth --data D   two files on train/, val/ of D
evaluate all a.pth --seeds 3 --out results    three seeds; resumes by itself
evaluate knn a.pth --set knn.k=5              one task, one setting changed
evaluate table results                        CSV, LaTeX and Markdown
evaluate inspect a.pth                        what a file is
evaluate convert a.pth b.pth --to torchvision the same weights, other names
evaluate ls                                   what there is to choose from
evaluate doctor                               what works on this machine
"""
RUN = "What is run"
PLACE = "Where and how it runs (cannot change the result)"
JUDGE = "all"
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
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of records, or archives.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the tables. Default: the same, if it is one.")
    ] = None,
    limited: Annotated[bool, typer.Option("--limited", help="Show smoke runs too.")] = False,
) -> None:
    """Build CSV, LaTeX and Markdown tables from records, and print the leaderboard."""
    from transferbench import collection, records

    places = folders or [Path("results")]
    with records.uncollected(), collection.opened(places) as there:
        _tabulate(there, places, out, limited)


def _tabulate(there: "Collection", places: list[Path], out: Path | None, limited: bool) -> None:
    """Print the leaderboard and write the tables."""
    from transferbench import tables

    good, bad = there.records, there.unreadable
    if not good:
        raise UserError(f"No records below {', '.join(map(str, places))}: {len(bad)} JSON file(s) that hold none.")
    _tell_unreadable(there)
    board = tables.leaderboard(good, limited, len(bad))
    _show(board)
    place = out or (places[0] if len(places) == 1 and places[0].is_dir() else None)
    for path in tables.write(place, good, board) if place else ():
        print(f"wrote {path}")
    if place is None:
        print("Nothing was written: say where with --out FOLDER.")


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


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A name or digest in --in, a checkpoint, record or folder.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The same; differences are B less A.")],
    in_: Annotated[Path, typer.Option("--in", help="Where records are looked for.")] = Path("results"),
    samples: Annotated[int, typer.Option(min=0, help="List so many of the images that changed.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write it: .csv or .json.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where data sets lie (for --samples).")] = None,
) -> None:
    """Compare two candidates on every task that both have: differences, intervals, paired tests."""
    from transferbench import runtime
    from transferbench.comparison import samples as images
    from transferbench.comparison import texts
    from transferbench.comparison.pairs import between

    with between(a, b, in_) as found:
        changed = images.changed(found, data_root or runtime.data_root())[:samples] if samples else []
    print(texts.text(found, changed))
    if out:
        texts.write(out, found, changed)
        print(f"\nwrote {out}")


@app.command()
def pack(
    out: Annotated[Path, typer.Argument(help="The archive to write, .zip.")],
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of records, or archives.")] = None,
    artifacts: Annotated[
        str, typer.Option(help="What goes with the records: all, predictions or none.")
    ] = "predictions",
) -> None:
    """Put records, predictions, tables and versions into one file; `evaluate table` reads it as it is."""
    from transferbench import sharing

    for note in sharing.pack(out, folders or [Path("results")], artifacts):
        print(f"Note: {note}", file=sys.stderr)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")


@app.command()
def gate(
    against: Annotated[Path, typer.Option(help="The baseline's records: a folder or an archive.")],
    new: Annotated[Path, typer.Argument(help="The new ones: a folder or an archive.")] = Path("results"),
    tolerance: Annotated[
        list[str] | None, typer.Option(help="How much worse is allowed, in the score's unit; TASK=N for one task.")
    ] = None,
    sigma: Annotated[float | None, typer.Option(min=0, help="So many std over the baseline's seeds instead.")] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="What is not there passes.")] = False,
    both_sides: Annotated[bool, typer.Option("--both-sides", help="Better than the band fails too.")] = False,
    every_score: Annotated[bool, typer.Option("--every-score", help="Not the main scores alone.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit's XML.")] = None,
) -> None:
    """Hold new results against a baseline; exit 1 when a number left its band or is missing."""
    from transferbench import collection
    from transferbench import gate as gates
    from transferbench.gate import texts

    band = gates.band(tolerance or (), sigma, both_sides, every_score)
    if new.resolve() == against.resolve():
        raise UserError(f"{new} would be held against itself. Name the baseline's folder with --against.")
    with collection.opened([against], without=new) as old, collection.opened([new], without=against) as found:
        _tell_unreadable(old, found)
        verdicts = gates.gate(old.records, found.records, band, allow_missing, str(new))
    print(texts.text(verdicts))
    if junit:
        texts.write_junit(junit, verdicts)
    if any(verdict.fails for verdict in verdicts):
        raise typer.Exit(1)


def _tell_unreadable(*collections: "Collection") -> None:
    for each in collections:
        for reason in each.unreadable:
            print(f"Left out: {reason}", file=sys.stderr)
        for note in each.notes:
            print(f"Note: {note}", file=sys.stderr)


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
        _show(tables.leaderboard(found, limited=True))
        print(f"Records lie in {out}. `evaluate table {out}` makes CSV, LaTeX and Markdown of all that lie there.")
        for record in failed:
            print(f"\nFAILED {record.candidate} {record.dataset} {record.label}: {record.error}", file=sys.stderr)
    if failed:
        raise typer.Exit(1 if any(record.is_bug for record in failed) else 2)


def _show(board: "Leaderboard") -> None:
    """Print a leaderboard: drawn on a terminal, as Markdown elsewhere."""
    from rich.console import Console

    from transferbench import tables

    if not board.columns:
        print("\n".join(["Nothing to rank.", *tables.notes(board)]))
    elif sys.stdout.isatty():
        Console().print(tables.terminal(board))
    else:
        print(tables.markdown(board))


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
