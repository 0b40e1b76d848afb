"""A dozen test images, each with the training images that a checkpoint finds most like it."""

import io

import numpy as np
from jaxtyping import Int64
from PIL import Image

from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.features.spec import spec_of
from transferbench.neighbors import Neighbors, search
from transferbench.records import Record
from transferbench.report import artifacts
from transferbench.report.charts import Gallery, MissingError, Panel, Picture
from transferbench.report.library import Library
from transferbench.report.subject import Subject, by_dataset, slug

TITLE = "Nearest neighbors"
QUERIES = 12
NEAREST = 5
SIDE = 64
"""Pixels of the longer side that an image is shown at."""
QUALITY = 80


def panel(subject: Subject, library: Library) -> Panel:
    """A gallery for each data set, of the first k-NN result whose features are in the cache."""
    if not library.with_images:
        return Panel(TITLE, (), (MissingError("Images were left out: --no-images."),), is_wide=True)
    figures: list[Gallery] = []
    missing: list[MissingError] = []
    judged = [each for each in subject.records if each.task == "knn" and not each.config.get("per_class")]
    for dataset, records in by_dataset(judged).items():
        reasons: list[MissingError] = []
        for record in records:
            try:
                figures.append(_gallery(subject, dataset, record, library))
                break
            except MissingError as reason:
                reasons.append(reason)
        else:
            missing += reasons[:1]
    if not figures and not missing:
        missing.append(
            MissingError("Its nearest neighbors were not searched for.", artifacts.with_task(subject.records, "knn"))
        )
    return Panel(TITLE, tuple(figures), tuple(missing), is_wide=True)


def chosen(labels: Int64[np.ndarray, "n"], count: int = QUERIES) -> Int64[np.ndarray, "m"]:
    """Positions at even distances in the order of classes: no image is picked for its look."""
    order = np.argsort(labels, kind="stable")
    steps = np.floor((np.arange(min(count, len(labels))) + 0.5) * len(labels) / max(min(count, len(labels)), 1))
    return order[steps.astype(np.int64)]


def thumbnail(image: Image.Image) -> bytes:
    """The image as WebP, no side longer than 64 pixels; smaller ones as they are."""
    small, buffer = image.convert("RGB"), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(buffer, "WEBP", quality=QUALITY, method=6)
    return buffer.getvalue()


def _gallery(subject: Subject, dataset: str, record: Record, library: Library) -> Gallery:
    split = library.dataset(record)
    asked = spec_of(record.config)
    bank = library.features(record, split.train, asked).features
    tested = library.features(record, split.test, asked).features
    queries = chosen(split.test.labels)
    metric = record.config.get("metric", "cosine")
    neighbors = search(bank, np.asarray(tested[queries]), NEAREST, metric)
    try:
        lines = [_line(split.train, split.test, int(query), neighbors, i) for i, query in enumerate(queries)]
    except UserError as error:
        raise MissingError(str(error)) from None
    size = sum(len(each.content) for query, near in lines for each in (query, *near))
    library.spend(size, subject.row.name, dataset)
    return Gallery(
        f"{subject.key}-neighbors-{slug(dataset)}",
        f"{dataset}: {len(lines)} test images and their {NEAREST} nearest training images",
        f"{subject.row.name}. Evenly spaced test images in class order. ✓ same class, ✗ another class; below, "
        f"{_measure(metric)}.",
        tuple(lines),
    )


def _measure(metric: str) -> str:
    return "the cosine of the features" if metric == "cosine" else "the distance of the features"


def _line(
    train: LabeledImages, test: LabeledImages, query: int, neighbors: Neighbors, place: int
) -> tuple[Picture, tuple[Picture, ...]]:
    """A test image and its neighbors as pictures."""
    label, classes = int(test.labels[query]), test.info.classes
    near = []
    for position, value in zip(neighbors.indices[place].tolist(), neighbors.values[place].tolist(), strict=True):
        own = int(train.labels[position])
        near.append(Picture(thumbnail(train.image(position)), _name(classes, own), own == label, f"{value:.3f}"))
    return Picture(thumbnail(test.image(query)), _name(classes, label)), tuple(near)


def _name(classes: tuple[str, ...], label: int) -> str:
    return classes[label] if label >= 0 else "no label"
