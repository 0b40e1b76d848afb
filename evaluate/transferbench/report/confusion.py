"""Which classes a checkpoint takes for which."""

import numpy as np

from transferbench.records import Record
from transferbench.report import artifacts
from transferbench.report.charts import Matrix, MissingError, Panel
from transferbench.report.library import Library
from transferbench.report.subject import Subject, by_dataset, slug

TITLE = "Confusion matrix"


def panel(subject: Subject, library: Library) -> Panel:
    """A matrix for each data set, of the result with the best main score whose predictions can be read."""
    figures: list[Matrix] = []
    missing: list[MissingError] = []
    kept = [each for each in subject.records if "predictions" in each.artifacts]
    for records in by_dataset(kept).values():
        reasons: list[MissingError] = []
        for record in sorted(records, key=_main, reverse=True):
            try:
                figures.append(_matrix(subject, record, library))
                break
            except MissingError as reason:
                reasons.append(reason)
        missing += reasons
    if not figures and not missing:
        missing.append(
            MissingError("No classifier's predictions were kept.", artifacts.with_task(subject.records, "knn"))
        )
    return Panel(TITLE, tuple(figures), tuple(missing), is_wide=True)


def _main(record: Record) -> float:
    score = record.score(record.primary)
    return score.value if score else float("-inf")


def _matrix(subject: Subject, record: Record, library: Library) -> Matrix:
    labels, predictions = artifacts.predictions(record, library.folder(record))
    count = int(max(labels.max(initial=0), predictions.max(initial=0))) + 1
    try:
        classes = library.dataset(record).test.info.classes
    except MissingError:
        classes = tuple(map(str, range(count)))
    if min(labels.min(initial=0), predictions.min(initial=0)) < 0 or count > len(classes):
        raise MissingError(
            f"{record.dataset} {record.label}: its predictions are for other classes.", artifacts.again(record)
        )
    counts = np.bincount(labels * len(classes) + predictions, minlength=len(classes) ** 2)
    runs = f", seed {record.seed}" if record.seed else ""
    return Matrix(
        f"{subject.key}-confusion-{slug(record.dataset)}",
        f"{record.dataset}: {record.label}{runs}, {_main(record):.2f} %",
        f"{subject.row.name}. The best of its results, {len(labels):,} test images. Rows are true classes, columns "
        "predicted ones.",
        classes,
        counts.reshape(len(classes), len(classes)),
    )
