"""The rank of the features against accuracy, over the checkpoints of a leaderboard."""

import statistics
from collections.abc import Iterator
from typing import Any

from transferbench.report.charts import Axis, Chart, Series
from transferbench.report.subject import records_of, slug
from transferbench.tables.board import Column, Leaderboard, Row

MEASURES = {"rankme": "RankMe", "effective_rank": "effective rank"}
LEAST = 2
"""Fewer checkpoints make no plot."""
CORRELATED = 4
"""With this many checkpoints or more, the rank correlation is shown."""


def charts(board: Leaderboard) -> dict[str, list[Chart]]:
    """By measure of rank, a chart for each protocol it was taken under and each accuracy on the same data set."""
    spectra = [column for column in board.columns if column.task == "spectrum"]
    accuracies = [column for column in board.columns if column.unit == "%" and column.task != "spectrum"]
    by_dataset: dict[str, list[Chart]] = {}
    for measure, name in MEASURES.items():
        for spectrum in dict.fromkeys((column.dataset, column.protocol_sha256) for column in spectra):
            for accuracy in accuracies:
                if accuracy.dataset == spectrum[0]:
                    by_dataset.setdefault(name, []).extend(_chart(board, measure, name, spectrum[1], accuracy))
    return {name: each for name, each in by_dataset.items() if each}


def rank_of(row: Row, dataset: str, measure: str, protocol: str) -> float | None:
    """The mean of a measure over a row's runs under a protocol of the task `spectrum`."""
    values = [
        score.value
        for record in records_of(row)
        if (record.task, record.dataset, record.protocol_sha256) == ("spectrum", dataset, protocol)
        and (score := record.score(measure))
    ]
    return statistics.fmean(values) if values else None


def correlation(points: list[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None of fewer than four points or where all agree on one number."""
    if len(points) < CORRELATED or any(len(set(column)) == 1 for column in zip(*points, strict=True)):
        return None
    from scipy import stats

    xs, ys = zip(*points, strict=True)
    test: Any = stats.spearmanr(xs, ys)
    return float(test.statistic)


def _chart(board: Leaderboard, measure: str, name: str, protocol: str, accuracy: Column) -> Iterator[Chart]:
    placed = {"candidate": [], "control": []}
    for row in board.rows:
        cell = row.cells.get(accuracy)
        rank = rank_of(row, accuracy.dataset, measure, protocol) if cell and row.kind in placed else None
        if cell and rank is not None:
            placed[row.kind].append((rank, cell.mean, row.name))
    if len(placed["candidate"]) + len(placed["control"]) < LEAST:
        return
    rho = correlation([(x, y) for x, y, _ in placed["candidate"]])
    correlated = (
        f" Spearman's rank correlation over the {len(placed['candidate'])} checkpoints: {rho:.2f}."
        if rho is not None
        else ""
    )
    hollow = " Hollow: controls." if placed["control"] else ""
    yield Chart(
        f"rank-{slug(accuracy.dataset)}-{slug(measure)}-{slug(accuracy.label)}",
        f"{accuracy.dataset}: {name} against {accuracy.label}",
        f"One point per checkpoint, the mean over its runs.{correlated}{hollow}",
        Axis(f"{name} of the features"),
        Axis(f"{accuracy.label}, %"),
        tuple(_series(each, kind) for kind, each in placed.items() if each),
    )


def _series(points: list[tuple[float, float, str]], kind: str) -> Series:
    xs, ys, names = zip(*points, strict=True)
    return Series("", xs, ys, "points" if kind == "candidate" else "hollow", 0, names)
