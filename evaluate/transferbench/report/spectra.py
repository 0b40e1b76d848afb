"""The eigenvalues of a checkpoint's features beside those of the others."""

import numpy as np
from jaxtyping import Float64

from transferbench.records import Record
from transferbench.report import artifacts
from transferbench.report.charts import Axis, Chart, MissingError, Panel, Series, several
from transferbench.report.library import Library
from transferbench.report.subject import Subject, by_dataset, slug

TITLE = "spectrum"
OTHERS = 11
"""How many other checkpoints a chart shows at most, the first of the leaderboard."""
POINTS = 120
FLOOR = 1e-14
"""An eigenvalue below this part of the largest is rounding, and not drawn."""


def panel(subject: Subject, library: Library) -> Panel:
    """A chart for each data set: this one's spectra drawn out, those of the other checkpoints faint."""
    figures: list[Chart] = []
    missing: list[MissingError] = []
    for dataset, records in by_dataset(each for each in subject.records if each.task == "spectrum").items():
        own, reasons = _read(subject.row.name, records, library)
        missing += reasons
        rivals = [series for name, theirs in subject.rivals for series in _first(name, theirs, records[0], library)]
        if own:
            figures.append(chart(f"{subject.key}-spectrum-{slug(dataset)}", dataset, [*rivals[:OTHERS], *own]))
    if not figures and not missing:
        missing.append(MissingError("No spectrum was recorded.", artifacts.with_task(subject.records, "spectrum")))
    return Panel(TITLE, tuple(figures), tuple(missing))


def chart(key: str, dataset: str, series: list[Series]) -> Chart:
    """Spectra of one data set in one chart."""
    return Chart(
        key,
        f"{dataset}: spectrum of the features",
        "Eigenvalues of the covariance of the test images' features, divided by the largest. The sooner a line "
        "falls, the fewer dimensions are used.",
        Axis("rank of the eigenvalue", is_whole=True),
        Axis("eigenvalue / largest", is_log=True),
        tuple(series),
    )


def overview(subjects: list[Subject], library: Library) -> list[Chart]:
    """For each data set the spectra of all checkpoints, one of each, the first of the leaderboard."""
    panels: dict[str, list[Series]] = {}
    for subject in subjects:
        for dataset, records in by_dataset(each for each in subject.records if each.task == "spectrum").items():
            lines = panels.setdefault(dataset, [])
            for series in _read(subject.row.name, records[:1], library)[0] if len(lines) <= OTHERS else ():
                style = "dashed" if subject.row.kind == "control" else "line"
                lines.append(Series(series.name, series.xs, series.ys, style, len(lines)))
    return [chart(f"spectrum-{slug(dataset)}", dataset, lines) for dataset, lines in panels.items() if len(lines) > 1]


def _first(name: str, records: tuple[Record, ...], like: Record, library: Library) -> list[Series]:
    """Another checkpoint's spectrum under the same protocol on the same images, where it can be read."""
    alike = [
        record
        for record in records
        if (record.protocol_sha256, record.data_fingerprint) == (like.protocol_sha256, like.data_fingerprint)
    ]
    spectrum, _ = _read(name, alike[:1], library)
    return [Series(each.name, each.xs, each.ys, "faint") for each in spectrum]


def _read(name: str, records: list[Record], library: Library) -> tuple[list[Series], list[MissingError]]:
    series, missing = [], []
    for record in records:
        try:
            values = artifacts.eigenvalues(record, library.folder(record))
        except MissingError as reason:
            missing.append(reason)
            continue
        series.append(_thinned("" if series else several(name, len(records)), values))
    return series, missing


def _thinned(name: str, values: Float64[np.ndarray, "d"]) -> Series:
    """A spectrum over its largest value, in so many points as can be seen."""
    shares = values / values[0] if len(values) and values[0] > 0 else values[:0]
    kept = np.unique(np.linspace(0, max(len(shares) - 1, 0), min(POINTS, len(shares))).astype(int))
    kept = kept[shares[kept] > FLOOR] if len(shares) else kept[:0]
    return Series(name, tuple((kept + 1.0).tolist()), tuple(shares[kept].tolist()))
