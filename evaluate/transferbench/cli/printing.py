"""What is printed while checkpoints are evaluated, and afterwards."""

import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferbench import stopping
from transferbench.cli.telling import told
from transferbench.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from transferbench.api import Begin, Evaluation
    from transferbench.records import Record
    from transferbench.records.collection import Collection
    from transferbench.tables import Form, Leaderboard

In = Annotated[list[Path] | None, typer.Option("--in", help="Same as the argument without --in; can be repeated.")]
"""A folder of records, or an archive, named by an option as `compare` does."""
LONG = 120
"""Seconds from which on a run is announced with its plan."""


def say(text: object, end: str = "\n", file: Any = None, flush: bool = False) -> None:
    """Print text, in which names from files steer no terminal."""
    print(printable(str(text)), end=end, file=file, flush=flush)


def planned(work: "Evaluation", is_main: bool, is_all: bool, begin: "Begin") -> bool:
    """Print the plan when it is asked for or the run is long; whether it is all that was asked for.

    A plan alone in which a job could not be forecast ends as such a job would, with 1 after a bug and else with 2.
    """
    from transferbench.errors import is_bug
    from transferbench.planning import plan

    estimates = work.plan(begin) if is_main else []
    if is_main and (is_all or sum(each.seconds for each in estimates) >= LONG):
        say("\n".join(plan.lines(estimates)), flush=True)
    failed = [each for each in estimates if each.problem]
    if is_all and failed:
        for each in failed:
            say(f"\nFAILED {each.candidate} {each.job.data} {each.job.id}: {each.problem}", file=sys.stderr)
        raise typer.Exit(1 if any(is_bug(each.problem) for each in failed) else 2)
    return is_all


def watched(work: "Evaluation", is_main: bool, results: "list[Record]") -> None:
    """Run the work, printing what was read and each result as it comes, which is added to `results`."""
    from transferbench import records, tables

    for text in [*map(tables.loaded, work.candidates), *work.notes] if is_main else ():
        say(text, flush=True)
    started = records.now()
    names = [printable(f"{candidate.name} {job.data} {job.id}") for candidate, jobs in work.assignments for job in jobs]
    part = 0.0

    def report(done: int, total: int) -> None:
        nonlocal part
        part = done / total
        progress.update(bar, completed=len(results) + part)

    def where() -> str:
        now = len(results)
        return f"{names[now]}: job {now + 1} of {len(names)}, {100 * part:.0f} % of it" if now < len(names) else ""

    with progress_bar(is_main) as progress, told(where, is_main):
        bar = progress.add_task(names[0], total=len(names))
        for record in work.run(report):
            part = 0.0
            results.append(record)
            if is_main:
                say(tables.line(record, is_old=record.written < started), flush=True)
            progress.update(bar, completed=len(results), description=[*names, ""][len(results)])


def progress_bar(is_main: bool = True) -> "Progress":
    """A bar with the time left, drawn where there is a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(*columns, *times, disable=not (is_main and sys.stdout.isatty()), transient=True)


def counted(steps: Iterable[int], total: int, what: str) -> Iterator[int]:
    """The steps, each the number done so far, shown as a bar."""
    with progress_bar() as progress:
        task = progress.add_task(what, total=total)
        for done in steps:
            progress.update(task, completed=done)
            yield done


@contextmanager
def stoppable(advice: str) -> Iterator[None]:
    """A signal inside the block ends the program between two steps with 128 and its number; `advice` says how to go on.

    Ctrl-C is 130.
    """
    try:
        with stopping.listening():
            yield
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, stopping.Interrupted) else signal.SIGINT
        print(f"\nStopped. {advice}", file=sys.stderr)
        raise typer.Exit(128 + number) from None


def finished(results: "list[Record]", is_main: bool) -> None:
    """Print the leaderboard of what a stopped call has finished, if anything."""
    done = [record for record in results if record.status == "ok"]
    if is_main and done:
        with stopping.polled():
            from transferbench import tables

            print("\nFinished before the stop:")
            show(tables.leaderboard(done, tables.Choice(limited=True)))


def conclude(results: "list[Record]", out: Path, is_main: bool) -> None:
    """Print the leaderboard and what went wrong; exit with 1 after a bug, with 2 after a user's error."""
    from transferbench import tables

    failed = [record for record in results if record.status == "failed"]
    if is_main:
        show(tables.leaderboard(results, tables.Choice(limited=True)))
        say(f"Records are in {out}. `evaluate table {out}` makes CSV, LaTeX and Markdown tables of them.")
        for record in failed:
            say(f"\nFAILED {record.candidate} {record.dataset} {record.label}: {record.error}", file=sys.stderr)
    if failed:
        raise typer.Exit(1 if any(record.is_bug for record in failed) else 2)


def show(board: "Leaderboard", form: "Form | None" = None) -> None:
    """Print a leaderboard: drawn on a terminal, as Markdown elsewhere."""
    from rich.console import Console

    from transferbench import tables

    laid = (form or tables.Form()).laid(board)
    if not board.columns:
        say("\n".join(["Nothing to rank.", *laid.notes, *tables.cures(board)]))
    elif sys.stdout.isatty():
        Console().print(tables.terminal(laid))
    else:
        say(tables.markdown(laid))


def places(*named: Sequence[Path] | None) -> list[Path]:
    """The folders that were named, each once; `results` when none was."""
    from transferbench.records.collection import distinct

    return distinct([path for paths in named for path in paths or ()]) or [Path("results")]


def unreadable(*collections: "Collection") -> None:
    """Print on stderr what is left out of collections, and their notes."""
    for each in collections:
        for reason in each.unreadable:
            say(f"Left out: {reason}", file=sys.stderr)
        for note in each.notes:
            say(f"Note: {note}", file=sys.stderr)
