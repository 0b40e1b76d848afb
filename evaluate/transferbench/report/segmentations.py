"""How well each class was segmented from a checkpoint's features, and test images with what was found in them."""

import re
from collections.abc import Sequence
from typing import Any

from transferbench.records import Record
from transferbench.report import artifacts
from transferbench.report.charts import Axis, Chart, MissingError, Panel, Pictures, Series
from transferbench.report.detections import webp
from transferbench.report.library import Library
from transferbench.report.subject import Subject, slug

TITLE = "Segmentations"
TASKS = ("segment_linear", "segment_knn")
NAMED, EDGE = 24, 6
"""With more classes than `NAMED`, only the `EDGE` best and as many of the worst have their names beside them."""


def panel(subject: Subject, library: Library) -> Panel:
    """For each result a chart of its classes, and its pictures as its run drew them."""
    figures: list[Chart | Pictures] = []
    missing: list[MissingError] = []
    judged = [each for each in subject.records if each.task in TASKS]
    for record in judged:
        for make in (_chart, _pictures) if library.with_images else (_chart,):
            try:
                figures.append(make(subject, record, library))
            except MissingError as reason:
                missing.append(reason)
    if not judged:
        missing.append(MissingError("Nothing was segmented.", artifacts.with_task(subject.records, TASKS[0])))
    elif not library.with_images:
        missing.append(MissingError("Images were left out: --no-images."))
    return Panel(TITLE, tuple(figures), tuple(missing), is_wide=True)


def _chart(subject: Subject, record: Record, library: Library) -> Chart:
    rows = artifacts.by_class(record, library.folder(record))
    total = sum(row["labeled"] for row in rows)
    placed = sorted((row for row in rows if row["iou"] is not None and row["labeled"]), key=lambda row: row["iou"])
    if not placed:
        raise MissingError(f"{record.dataset} {record.label}: its table has no class.", artifacts.again(record))
    absent = len(rows) - len(placed)
    left_out = f" Not drawn: {absent} that no pixel is of." if absent else ""
    parts = [placed] if len(placed) <= NAMED else [placed[:EDGE], placed[EDGE:-EDGE], placed[-EDGE:]]
    return Chart(
        f"{subject.key}-classes-{_key(record)}",
        f"{_title(record)}: IoU of the classes",
        f"{subject.row.name}. One point per class, over all test images. {_scores(record)}{left_out}",
        Axis("share of the pixels, %", is_log=True),
        Axis("IoU, %"),
        tuple(_series(part, total, is_named=len(part) <= NAMED) for part in parts),
    )


def _series(rows: Sequence[dict[str, Any]], total: int, is_named: bool) -> Series:
    shares, ious = (100 * row["labeled"] / total for row in rows), (row["iou"] for row in rows)
    names = (re.split(r"[,;]", row["class"])[0] for row in rows)  # the first, where a class has several
    return Series("", tuple(shares), tuple(ious), "points", 0, tuple(names) if is_named else ())


def _pictures(subject: Subject, record: Record, library: Library) -> Pictures:
    content = webp(artifacts.pictures(record, library.folder(record)))
    library.spend(len(content), subject.row.name, record.dataset)
    return Pictures(
        f"{subject.key}-segmentations-{_key(record)}",
        _title(record),
        f"{subject.row.name}. Evenly spaced test images: the image, the true classes, what was predicted. Pixels that "
        f"do not count are pale. {_scores(record)}",
        "Test images, each beside its true and its predicted classes as colors",
        content,
    )


def _key(record: Record) -> str:
    return f"{slug(record.dataset)}-{slug(record.label)}-{record.seed}"


def _title(record: Record) -> str:
    return f"{record.dataset}: {record.label}{f', seed {record.seed}' if record.seed else ''}"


def _scores(record: Record) -> str:
    names = {"miou": "Mean IoU", "mean_accuracy": "mean accuracy", "pixel_accuracy": "pixel accuracy"}
    values = [f"{name} {score.value:.2f}" for metric, name in names.items() if (score := record.score(metric))]
    return f"{', '.join(values)} %." if values else ""
