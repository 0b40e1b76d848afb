"""How fast a run went, from its own lines: images a second, the share of waiting, and time to an accuracy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from decorssl import curves, runlog
from transferbench import settings
from transferbench.errors import UserError

NONE = "-"
LEVELS = (50.0, 60.0, 70.0, 80.0, 85.0, 90.0)
"""k-NN accuracies, in percent, whose time is reported."""


@dataclass(frozen=True)
class AccuracyPoint:
    """A k-NN accuracy in percent, and the seconds of training before it: steps and their waiting, no evaluation."""

    epoch: int
    knn: float
    seconds: float


@dataclass(frozen=True)
class Pace:
    """What a run took so far.

    Attributes:
        seconds: of all steps together, evaluation and saving left out.
        waited: how many of them went by waiting for images.
        images: how many were trained on, each as often as it was.
        linear: the accuracies of the online linear probe, in percent.
    """

    name: str
    seconds: float
    waited: float
    images: int
    checks: tuple[AccuracyPoint, ...]
    linear: tuple[float, ...] = ()

    def reached(self, level: float) -> AccuracyPoint | None:
        """The first check at `level` percent or more."""
        return next((check for check in self.checks if check.knn >= level), None)

    @property
    def best(self) -> float | None:
        """The highest accuracy, in percent; None where none was measured."""
        return max((check.knn for check in self.checks), default=None)


def read(folder: Path) -> Pace:
    """The pace of the run in a folder, finished or not.

    Raises:
        UserError: when a file there is not what a run writes.
    """
    batch = settings.from_file(folder / runlog.RECIPE).get("batch_size")
    if not isinstance(batch, int):
        raise UserError(f"{folder / runlog.RECIPE} states no batch_size: found {batch!r}, expected a number of images.")
    return of(folder.name, curves.lines(folder / runlog.STEPS), batch)


def of(name: str, lines: Iterable[Mapping[str, Any]], batch: int) -> Pace:
    """The pace that a run's lines tell, in their order."""
    seconds = waited = 0.0
    images, checks, linear = 0, [], []
    for line in lines:
        if "seconds" in line:
            seconds, waited, images = seconds + line["seconds"], waited + line["waited"], images + batch
        if "knn" in line and "epoch" in line:
            checks.append(AccuracyPoint(line["epoch"], line["knn"], seconds))
        if "linear" in line:
            linear.append(line["linear"])
    return Pace(name, seconds, waited, images, tuple(checks), tuple(linear))


def table(runs: Sequence[Pace]) -> str:
    """A line a run: its speed, its best accuracy and the seconds to each level that one of them reached."""
    levels = [level for level in LEVELS if any(run.reached(level) for run in runs)]
    probed = any(run.linear for run in runs)
    best = ["best k-NN", *["best linear"] * probed]
    head = ["run", "images/s", "waiting", "training", *best, *(f"s to {level:g} %" for level in levels)]
    rows = [head]
    for run in runs:
        linear = [_percent(max(run.linear, default=None))] * probed
        rows.append([*_speed(run), *linear, *(_time(run.reached(level)) for level in levels)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def _speed(run: Pace) -> list[str]:
    rate, share = (run.images / run.seconds, run.waited / run.seconds) if run.seconds else (0.0, 0.0)
    return [run.name, f"{rate:,.0f}", f"{share:.1%}", str(timedelta(seconds=round(run.seconds))), _percent(run.best)]


def _percent(accuracy: float | None) -> str:
    return NONE if accuracy is None else f"{accuracy:.2f} %"


def _time(check: AccuracyPoint | None) -> str:
    return f"{check.seconds:,.0f}" if check else NONE
