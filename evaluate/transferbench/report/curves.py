"""Learning curves of the heads and detectors that were trained on a checkpoint."""

from collections.abc import Iterator
from dataclasses import dataclass

from transferbench.report import artifacts
from transferbench.report.charts import Axis, Chart, MissingError, Panel, Series, Style, several
from transferbench.report.library import Library
from transferbench.report.subject import Subject, by_dataset, slug

TITLE = "Learning curves"
TOTAL, AT = "total", "loss at "
"""A detector's losses added up, and how the loss of a head at a learning rate is called."""
MOST = 200
"""How many points of a curve are drawn."""


@dataclass(frozen=True)
class Curve:
    """What a run of a task told of its epochs, or of its iterations."""

    label: str
    lines: list[dict[str, float]]


def panel(subject: Subject, library: Library) -> Panel:
    """Accuracy and loss over the epochs or iterations, a chart each for every data set."""
    figures: list[Chart] = []
    missing: list[MissingError] = []
    for dataset, records in by_dataset(each for each in subject.records if "curve" in each.artifacts).items():
        runs = []
        for record in records:
            try:
                lines = artifacts.curve(record, library.folder(record))
                runs += [Curve(record.label, [line | _total(line) for line in lines]), *_rates(record.label, lines)]
            except MissingError as reason:
                missing.append(reason)
        figures += [*_charts(subject, dataset, runs)] if runs else []
    if not figures and not missing:
        command = artifacts.with_task(subject.records, "linear")
        missing.append(MissingError("No head was trained epoch by epoch.", command))
    return Panel(TITLE, tuple(figures), tuple(missing))


def _charts(subject: Subject, dataset: str, runs: list[Curve]) -> Iterator[Chart]:
    name = subject.row.name
    tested, trained = _series(runs, "test_top1", "line"), _series(runs, "train_top1", "dashed")
    if tested or trained:
        yield Chart(
            f"{subject.key}-accuracy-{slug(dataset)}",
            f"{dataset}: accuracy of the heads while they train",
            f"{name}. Solid: test images. Dashed: training images, augmented.",
            Axis("epoch", is_whole=True),
            Axis("top-1 accuracy, %"),
            (*tested, *trained),
        )
    if losses := _series(runs, "loss", "line"):
        yield Chart(
            f"{subject.key}-loss-{slug(dataset)}",
            f"{dataset}: training loss of the heads",
            f"{name}. Means over each epoch.",
            Axis("epoch", is_whole=True),
            Axis("cross-entropy"),
            losses,
        )
    if losses := _series(runs, AT, "line", "iteration"):
        yield Chart(
            f"{subject.key}-rates-loss-{slug(dataset)}",
            f"{dataset}: training loss at each learning rate",
            f"{name}. Means over the iterations before each point.",
            Axis("iteration", is_whole=True),
            Axis("cross-entropy"),
            losses,
        )
    if losses := _series(runs, TOTAL, "line", "iteration"):
        yield Chart(
            f"{subject.key}-detector-loss-{slug(dataset)}",
            f"{dataset}: training loss of the detectors",
            f"{name}. The total loss of single iterations, at intervals.",
            Axis("iteration", is_whole=True),
            Axis("loss"),
            losses,
        )


def _total(line: dict[str, float]) -> dict[str, float]:
    """The sum of a detector's losses, if there are any."""
    losses = [value for key, value in line.items() if key.startswith("loss_")]
    return {TOTAL: sum(losses)} if losses else {}


def _rates(label: str, lines: list[dict[str, float]]) -> list[Curve]:
    """A curve for each learning rate of heads that were trained side by side; it ends where the loss did."""
    rates = dict.fromkeys(key for line in lines for key in line if key.startswith(AT))
    return [
        Curve(
            f"{label}, {rate.removeprefix('loss ')}",
            [{"iteration": line["iteration"], AT: line[rate]} for line in lines if rate in line],
        )
        for rate in rates
    ]


def _series(every: list[Curve], key: str, style: Style, time: str = "epoch") -> tuple[Series, ...]:
    """A line a run; runs of one task share a color, and the first of them stands in the legend."""
    labels, series = list(dict.fromkeys(each.label for each in every)), []
    for each in every:
        points = [(line[time], line[key]) for line in each.lines if key in line and time in line]
        points = points[:: max(1, -(-len(points) // MOST))]
        is_named = style == "line" and not any(other.color == labels.index(each.label) for other in series)
        runs = sum(other.label == each.label for other in every)
        name = several(each.label, runs) if is_named else ""
        if points:
            xs, ys = zip(*points, strict=True)
            series.append(Series(name, xs, ys, style, labels.index(each.label)))
    return tuple(series)
