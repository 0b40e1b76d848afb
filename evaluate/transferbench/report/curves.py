"""Learning curves of the heads that were trained on a checkpoint."""

from collections.abc import Iterator
from dataclasses import dataclass

from transferbench.report import artifacts
from transferbench.report.charts import Axis, Chart, MissingError, Panel, Series, Style, several
from transferbench.report.library import Library
from transferbench.report.subject import Subject, by_dataset, slug

TITLE = "Learning curves"
MOST = 200
"""How many points of a curve are drawn."""


@dataclass(frozen=True)
class Told:
    """What a run of a task told of its epochs."""

    label: str
    epochs: list[dict[str, float]]


def panel(subject: Subject, library: Library) -> Panel:
    """Accuracy and loss over the epochs, a chart each for every data set."""
    figures: list[Chart] = []
    missing: list[MissingError] = []
    for dataset, records in by_dataset(each for each in subject.records if "curve" in each.artifacts).items():
        told = []
        for record in records:
            try:
                told.append(Told(record.label, artifacts.curve(record, library.folder(record))))
            except MissingError as reason:
                missing.append(reason)
        figures += [*_charts(subject, dataset, told)] if told else []
    if not figures and not missing:
        first = subject.records[0]
        missing.append(MissingError("No head was trained epoch by epoch.", artifacts.again(first, "linear")))
    return Panel(TITLE, tuple(figures), tuple(missing))


def _charts(subject: Subject, dataset: str, told: list[Told]) -> Iterator[Chart]:
    name = subject.row.name
    tested, trained = _series(told, "test_top1", "line"), _series(told, "train_top1", "dashed")
    if tested or trained:
        yield Chart(
            f"{subject.key}-accuracy-{slug(dataset)}",
            f"{dataset}: accuracy of the heads while they train",
            f"{name}. On test images, drawn through; on the training images as they were augmented, dashed.",
            Axis("epoch", is_whole=True),
            Axis("top-1 accuracy, %"),
            (*tested, *trained),
        )
    if losses := _series(told, "loss", "line"):
        yield Chart(
            f"{subject.key}-loss-{slug(dataset)}",
            f"{dataset}: training loss of the heads",
            f"{name}. The mean over each epoch.",
            Axis("epoch", is_whole=True),
            Axis("cross-entropy"),
            losses,
        )


def _series(told: list[Told], key: str, style: Style) -> tuple[Series, ...]:
    """A line a run; runs of one task share a colour, and the first of them stands in the legend."""
    labels, found = list(dict.fromkeys(each.label for each in told)), []
    for each in told:
        points = [(epoch["epoch"], epoch[key]) for epoch in each.epochs if key in epoch and "epoch" in epoch]
        points = points[:: max(1, -(-len(points) // MOST))]
        is_named = style == "line" and not any(other.colour == labels.index(each.label) for other in found)
        runs = sum(other.label == each.label for other in told)
        name = several(each.label, runs) if is_named else ""
        if points:
            xs, ys = zip(*points, strict=True)
            found.append(Series(name, xs, ys, style, labels.index(each.label)))
    return tuple(found)
