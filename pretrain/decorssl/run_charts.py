"""The curves of runs side by side, as one HTML page."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from decorssl import curves, runlog
from transferbench import settings
from transferbench.errors import UserError
from transferbench.report import page
from transferbench.report.charts import Axis, Chart, Series

Line = Mapping[str, Any]
EVERY = "One line a run; "
WATCHED: dict[str, tuple[str, str, str, Callable[[Line], Any]]] = {
    "knn": ("k-NN accuracy while training", "top-1, %", "test images, on frozen features.", lambda line: line["knn"]),
    "linear": (
        "Online linear probe",
        "top-1, %",
        "test images, by a linear layer trained beside the backbone.",
        lambda line: line["linear"],
    ),
    "embedding": (
        "Rank of the embeddings",
        "effective rank / possible",
        "of training images without augmentation; near 0 is dimensional collapse.",
        lambda line: line["embedding"]["rank_share"],
    ),
    "features": (
        "Rank of the features",
        "effective rank / possible",
        "of the backbone's features of the same images.",
        lambda line: line["features"]["rank_share"],
    ),
}
"""What is watched by its name in a line of a run's files: title, axis, caption and how the number is found."""


def page_of(folders: Sequence[Path]) -> str:
    """The page of some runs' folders: loss, accuracies and ranks by epoch.

    Raises:
        UserError: when a folder holds no run, or a file of it cannot be read.
    """
    runs = {str(folder): _lines(folder) for folder in folders}
    figures = [
        _chart("loss", "Training loss", "loss", "means over each epoch.", {n: _losses(r) for n, r in runs.items()})
    ]
    for name, (title, axis, caption, number) in WATCHED.items():
        points = {
            run: [(float(x["epoch"] + 1), float(number(x))) for x in lines if name in x] for run, lines in runs.items()
        }
        if any(points.values()):
            figures.append(_chart(name, title, axis, caption, points))
    said = [f"{folder}: {settings.from_file(folder / runlog.RECIPE).get('summary', '')}" for folder in folders]
    return page.plain("Pretraining", said, figures)


def _lines(folder: Path) -> list[dict[str, Any]]:
    if not (folder / runlog.STEPS).is_file():
        raise UserError(f"There is no run in {folder}: it holds no {runlog.STEPS}. Name a run folder.")
    files = [folder / name for name in runlog.FILES]
    return [line for path in files if path.is_file() for line in curves.lines(path)]


def _losses(lines: Sequence[Line]) -> list[tuple[float, float]]:
    steps = [line for line in lines if "loss" in line]
    by_epoch = {epoch: [line["loss"] for line in part] for epoch, part in groupby(steps, lambda line: line["epoch"])}
    return [(float(epoch + 1), sum(losses) / len(losses)) for epoch, losses in by_epoch.items()]


def _chart(key: str, title: str, axis: str, caption: str, points: Mapping[str, Sequence[tuple[float, float]]]) -> Chart:
    series = tuple(
        Series(name, tuple(x for x, _ in places), tuple(y for _, y in places), color=number)
        for number, (name, places) in enumerate(points.items())
        if places
    )
    return Chart(key, title, f"{EVERY}{caption}", Axis("epoch", is_whole=True), Axis(axis), series)
