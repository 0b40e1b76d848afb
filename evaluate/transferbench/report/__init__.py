"""All that was recorded as one HTML page, and its figures as files for a paper."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from transferbench import comparison, records, state, tables
from transferbench.errors import UserError
from transferbench.records.collection import Collection
from transferbench.report import (
    artifacts,
    confusion,
    curves,
    detections,
    facts,
    features_map,
    neighbors,
    ranks,
    segmentations,
    spectra,
)
from transferbench.report.charts import Chart, Figure, MissingError
from transferbench.report.library import Library
from transferbench.report.page import Page, Section, render
from transferbench.report.standings import standings
from transferbench.report.subject import Subject, free, subjects

__all__ = ["Report", "Sources", "build"]

PANELS = (
    curves.panel,
    spectra.panel,
    features_map.panel,
    confusion.panel,
    neighbors.panel,
    detections.panel,
    segmentations.panel,
)
"""The parts of a checkpoint's section, in order; each is a function of a subject and the library."""


@dataclass(frozen=True)
class Sources:
    """Where a report's material lies, and whether images may be shown."""

    data_root: Path
    cache: Path
    with_images: bool = True


@dataclass(frozen=True)
class Report:
    """The page, and the figures on it by their names as files."""

    html: str
    figures: Mapping[str, Figure]

    def write(self, path: Path) -> Path:
        """Write the page; returns where."""
        state.write(path, self.html)
        return path

    def write_figures(self, folder: Path) -> Iterator[Path]:
        """Write every figure as PNG and as PDF, yielding where.

        Raises:
            UserError: without matplotlib.
        """
        from transferbench.report import paper

        for name, figure in self.figures.items():
            yield from paper.write(folder / name, figure)


def build(
    there: Collection, choice: tables.Choice, sources: Sources, say: Callable[[str], None] = lambda message: None
) -> Report:
    """The report of some records; `say` is told of each checkpoint when its section is begun.

    Raises:
        UserError: for a condition that cannot be read, or when no record fulfills them all.
    """
    folders = {each.record.record_sha256: each.out for each in there.stored}
    library = Library(folders, sources.data_root, sources.cache, sources.with_images)
    board = tables.leaderboard(
        there.records, choice, len(there.unreadable), lambda record: comparison.hits(record, library.folder(record))
    )
    if not board.columns:
        raise UserError("\n".join(["No result to show.", *tables.notes(board), *tables.cures(board)]))
    listed = subjects(board)
    sections = []
    for number, subject in enumerate(listed, 1):
        say(f"{number}/{len(listed)} {subject.row.name}")
        sections.append(_section(subject, library))
    plots, missing = ranks.charts(board), []
    if not plots:
        labeled = [column.dataset for column in board.columns if column.task in artifacts.alike("spectrum")]
        missing.append(
            MissingError(
                "A plot of rank against accuracy needs accuracy and spectrum of at least two checkpoints on one data "
                "set.",
                f"evaluate spectrum CHECKPOINT... --data {next(iter(labeled), 'LABELED')}",
            )
        )
    overview = [*spectra.overview(listed, library), *plots.pop("RankMe", [])]
    more = [chart for charts in plots.values() for chart in charts]
    table = standings(board, listed)
    shown = Page("transferbench report", _made(listed), table, overview, more, missing, sections, there.unreadable)
    figures: dict[str, Figure] = {}
    for figure in _figures([*overview, *more], sections):
        figures[free(figure.key, figures)] = figure
    return Report(render(shown), figures)


def _section(subject: Subject, library: Library) -> Section:
    return Section(
        subject,
        [facts.result(record) for record in subject.records],
        facts.weights(subject.records),
        facts.environments(subject.records),
        [panel(subject, library) for panel in PANELS],
    )


def _made(listed: list[Subject]) -> str:
    count = sum(len(subject.records) for subject in listed)
    rivals = sum(subject.row.kind == "candidate" for subject in listed)
    parts = [_counted(rivals, "checkpoint"), _counted(len(listed) - rivals, "control"), _counted(count, "result")]
    return f"{', '.join(filter(None, parts))}. Made {records.now()[:16].replace('T', ' ')} UTC."


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}" if count else ""


def _figures(overview: list[Chart], sections: list[Section]) -> Iterator[Figure]:
    yield from overview
    for section in sections:
        for panel in section.panels:
            yield from panel.figures
