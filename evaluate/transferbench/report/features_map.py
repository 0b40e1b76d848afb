"""A map of a checkpoint's features in two dimensions."""

import numpy as np
from jaxtyping import Float, Int64

from transferbench.features.spec import FeatureSpec, spec_of
from transferbench.records import Record
from transferbench.report import artifacts
from transferbench.report.charts import Axis, Chart, MissingError, Panel, Series
from transferbench.report.library import Library
from transferbench.report.subject import Subject, by_dataset, slug

TITLE = "map of the features"
POINTS = 1000
"""How many test images are drawn at most."""
COLORED = 10
"""How many classes have a color; the images of all others are faint."""
COMPONENTS = 50
PERPLEXITY = 30
ITERATIONS = 500
"""Half of scikit-learn's: the trustworthiness of a map of 1,000 digits was 0.993 after either, in half the time."""
FEW = 5
"""With fewer images there is no map to draw."""


def panel(subject: Subject, library: Library) -> Panel:
    """A chart for each data set, of the first run whose features are in the cache."""
    figures: list[Chart] = []
    missing: list[MissingError] = []
    for dataset, records in by_dataset(each for each in subject.records if read_by(each)).items():
        try:
            figures.append(_first(subject, dataset, records, library))
        except MissingError as reason:
            missing.append(reason)
    if not figures and not missing:
        missing.append(
            MissingError("No task read the frozen features.", artifacts.with_task(subject.records, "spectrum"))
        )
    return Panel(TITLE, tuple(figures), tuple(missing))


def read_by(record: Record) -> FeatureSpec | None:
    """What a record's task took from the backbone; None when it did not read the test images' features."""
    if record.task not in ("spectrum", "knn", "logistic"):
        return None
    return spec_of(record.config)


def project(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
    """t-SNE (van der Maaten & Hinton 2008) of at most 50 principal components, with a fixed seed."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    few = min(COMPONENTS, *features.shape)
    reduced = PCA(few, random_state=0).fit_transform(features.astype(np.float64))
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, max_iter=ITERATIONS, init="pca", random_state=0).fit_transform(reduced)


def _first(subject: Subject, dataset: str, records: list[Record], library: Library) -> Chart:
    reasons = []
    for record in records:
        try:
            images = library.dataset(record).test
            features = library.features(record, images, read_by(record) or FeatureSpec())
        except MissingError as reason:
            reasons.append(reason)
            continue
        return _chart(subject, dataset, features.features, features.labels, images.info.classes)
    raise reasons[0]


def _chart(
    subject: Subject,
    dataset: str,
    features: Float[np.ndarray, "n d"],
    labels: Int64[np.ndarray, "n"],
    classes: tuple[str, ...],
) -> Chart:
    if len(labels) < FEW:
        raise MissingError(f"{dataset} has only {len(labels)} test images: too few for a map.")
    shown = np.unique(np.linspace(0, len(labels) - 1, min(POINTS, len(labels))).astype(int))
    places, own = project(np.asarray(features[shown])), labels[shown]
    named = np.argsort(-np.bincount(own[own >= 0], minlength=len(classes)), kind="stable")[:COLORED]
    rest = ~np.isin(own, named)
    series = [Series("", *_columns(places[rest]), "dust")] if rest.any() else []
    for color, number in enumerate(sorted(named.tolist())):
        mine = places[own == number]
        series.append(Series(classes[number], *_columns(mine), "points", color, (classes[number],)))
    some = f"{len(named)} of {len(classes)} classes are named. " if rest.any() else ""
    return Chart(
        f"{subject.key}-map-{slug(dataset)}",
        f"{dataset}: {len(shown)} test images by their features",
        f"{subject.row.name}. t-SNE of the features' principal components. {some}Nearby points are similar; distances "
        "between clusters and directions mean nothing.",
        Axis(),
        Axis(),
        tuple(each for each in series if each.xs),
    )


def _columns(places: Float[np.ndarray, "n 2"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(places[:, 0].tolist()), tuple(places[:, 1].tolist())
