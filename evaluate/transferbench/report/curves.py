"""Learning curves of the heads that were trained on a checkpoint."""

from collections.abc import Iterator
from dataclasses import dataclass

from transferbench.records import Record
from transferbench.report import artifacts
from transferbench.report.charts import Axis, Chart, MissingError, Panel, Series
from transferbench.report.library import Library
from transferbench.report.subject import Subject, by_dataset, slug

TITLE = "Learning curves"
TRAINED = ("linear", "semi")
"""The tasks that train a head epoch by epoch: their names begin so."""
MOST = 200
"""How many points of a curve are drawn."""


@dataclass(frozen=True)
class Told:
    """A line of the legend and the epochs behind it."""

    name: str
    epochs: list[dict[str, float]]


def panel(subject: Subject, library: Library) -> Panel:
    """Accuracy and loss over the epochs, a chart each for every data set."""
    figures: list[Chart] = []
    missing: list[MissingError] = []
    for dataset, records in by_dataset(each for each in subject.records if "curve" in each.artifacts).items():
        told = []
        for record in records:
            try:
                told.append(Told(_name(record, records), artifacts.curve(record, library.folder(record))))
            except MissingError as reason:
                missing.append(reason)
        figures += [*_charts(subject, dataset, told)] if told else []
    if not figures and not missing:
        first = subject.records[0]
        missing.append(MissingError("No head was trained epoch by epoch.", artifacts.again(first, "linear")))
    return Panel(TITLE, tuple(figures), tuple(missing))


def _name(record: Record, records: list[Record]) -> str:
    alike = [other for other in records if other.label == record.label]
    if len(alike) == 1:
        return record.label
    seeds = dict.fromkeys((other.card.origin.seed, other.seed) for other in alike)
    return f"{record.label}, run {list(seeds).index((record.card.origin.seed, record.seed)) + 1}"


def _charts(subject: Subject, dataset: str, told: list[Told]) -> Iterator[Chart]:
    name = subject.row.name
    accuracies = [series for i, each in enumerate(told) for series in _accuracy(each, i)]
    if accuracies:
        yield Chart(
            f"{subject.key}-accuracy-{slug(dataset)}",
            f"{dataset}: accuracy of the heads while they train",
            f"{name}. On test images, drawn through; on the training images as they were augmented, dashed.",
            Axis("epoch"),
            Axis("top-1 accuracy, %"),
            tuple(accuracies),
        )
    losses = [_series(each.name, each.epochs, "loss", i) for i, each in enumerate(told)]
    if any(series.xs for series in losses):
        yield Chart(
            f"{subject.key}-loss-{slug(dataset)}",
            f"{dataset}: training loss of the heads",
            f"{name}. The mean over each epoch.",
            Axis("epoch"),
            Axis("cross-entropy"),
            tuple(losses),
        )


def _accuracy(told: Told, colour: int) -> Iterator[Series]:
    tested = _series(told.name, told.epochs, "test_top1", colour)
    trained = _series("", told.epochs, "train_top1", colour)
    if tested.xs:
        yield tested
    if trained.xs:
        yield Series("", trained.xs, trained.ys, "dashed", colour)


def _series(name: str, epochs: list[dict[str, float]], key: str, colour: int) -> Series:
    points = [(each["epoch"], each[key]) for each in epochs if key in each and "epoch" in each]
    points = points[:: -(-len(points) // MOST) or 1]
    return Series(name, tuple(x for x, _ in points), tuple(y for _, y in points), "line", colour)
