"""What a study found: the verdict on each network, and the table over seeds."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from decorssl import collapse
from decorssl.collapse import Spectrum
from transferbench import state

Verdict = Literal["none", "across groups", "dimensional", "complete", "not finite"]

REDUNDANT = 0.85
"""Groups of channels repeat each other when they share more than this part of their variation."""


@dataclass(frozen=True)
class StudyResult:
    """One network of one seed: what the papers say of its method (none for the reference) and what was measured."""

    label: str
    claim: Verdict | None
    seed: int
    embedding: Spectrum
    backbone: Spectrum
    within: float
    across: float
    redundancy: float
    knn: float
    over_time: tuple[tuple[int, float], ...] = ()
    """(step, effective rank of the embedding over what it could be) while it was trained."""
    is_finite: bool = True

    @property
    def verdict(self) -> Verdict:
        """What is seen of the embedding."""
        return verdict(self.embedding.collapse, self.redundancy, self.is_finite)


def verdict(kind: collapse.Kind, redundancy: float, is_finite: bool) -> Verdict:
    """The worst verdict that holds for a network's embedding."""
    if not is_finite:
        return "not finite"
    if kind == "none" and redundancy > REDUNDANT:
        return "across groups"
    return kind


@dataclass(frozen=True)
class Measure:
    """A number of each finding; `head` is short, for people, `name` is for programs."""

    name: str
    head: str
    of: Callable[[StudyResult], float | None]
    digits: int


COLUMNS = (
    Measure("stable_rank_share", "stable rank / d", lambda f: f.embedding.stable_share, 3),
    Measure("effective_rank", "effective rank", lambda f: f.embedding.effective_rank, 1),
    Measure("log10_condition", "log10 condition", lambda f: f.embedding.log10_condition, 1),
    Measure("mean_abs_correlation", "mean abs corr", lambda f: f.embedding.mean_abs_correlation, 2),
    Measure("correlation_within_groups", "within groups", lambda f: f.within, 2),
    Measure("correlation_across_groups", "across groups", lambda f: f.across, 2),
    Measure("redundancy_across_groups", "groups share", lambda f: f.redundancy, 2),
    Measure("std", "std", lambda f: f.embedding.std, 2),
    Measure("mean_cosine", "mean cosine", lambda f: f.embedding.mean_cosine, 2),
    Measure("backbone_stable_rank_share", "backbone stable rank / d", lambda f: f.backbone.stable_share, 3),
    Measure("backbone_effective_rank", "backbone effective rank", lambda f: f.backbone.effective_rank, 1),
    Measure("backbone_log10_condition", "backbone log10 condition", lambda f: f.backbone.log10_condition, 1),
    Measure("knn", "k-NN %", lambda f: f.knn, 1),
)


def write(folder: Path, results: Sequence[StudyResult], about: str) -> list[Path]:
    """Write `runs.csv` (a line a network), `table.csv` and `table.md` (a line a method); returns where."""
    texts = {"runs.csv": runs(results), "table.csv": table(results), "table.md": markdown(results, about)}
    for name, text in texts.items():
        state.write(folder / name, text)
    return [folder / name for name in texts]


def by_label(results: Sequence[StudyResult]) -> list[tuple[str, list[StudyResult]]]:
    """The findings of each variant, in the order the variants first appear."""
    order = list(dict.fromkeys(f.label for f in results))
    grouped = groupby(sorted(results, key=lambda f: order.index(f.label)), key=lambda f: f.label)
    return [(label, list(group)) for label, group in grouped]


def runs(results: Sequence[StudyResult]) -> str:
    """CSV with every number of every network."""
    heads = ["method", "seed", "claim", "seen", *(column.name for column in COLUMNS)]
    return _csv([heads, *([f.label, f.seed, f.claim, f.verdict, *(c.of(f) for c in COLUMNS)] for f in results)])


def table(results: Sequence[StudyResult]) -> str:
    """CSV with mean and standard deviation over seeds."""
    heads = ["method", "claim", "seen", "seeds", *(f"{c.name}{end}" for c in COLUMNS for end in ("", "_std"))]
    rows = [
        [label, group[0].claim, seen(group), len(group), *(x for c in COLUMNS for x in _mean_and_std(c, group))]
        for label, group in by_label(results)
    ]
    return _csv([heads, *rows])


def markdown(results: Sequence[StudyResult], about: str) -> str:
    """The same for people, with what was claimed and not seen spelled out."""
    heads = ["Method", "Claim", "Seen", *(column.head for column in COLUMNS)]
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- | --- |{' ---: |' * len(COLUMNS)}"]
    for label, group in by_label(results):
        numbers = (_words(column, *_mean_and_std(column, group)) for column in COLUMNS)
        lines.append(f"| {' | '.join([label, group[0].claim or '-', seen(group), *numbers])} |")
    return "\n".join([about.strip(), "", *lines, "", *misses(results)]) + "\n"


def misses(results: Sequence[StudyResult]) -> list[str]:
    """One sentence a claim that some seed did not show."""
    groups = [(label, group) for label, group in by_label(results) if group[0].claim is not None]
    missed = [(label, group) for label, group in groups if any(f.verdict != f.claim for f in group)]
    if not missed:
        return [f"All {len(groups)} claims are seen, in every seed."]
    return [f"Not as claimed: {label} ({group[0].claim} was claimed, seen: {seen(group)})." for label, group in missed]


def seen(group: Sequence[StudyResult]) -> str:
    """The verdict of all seeds, or how many had which."""
    verdicts = [f.verdict for f in group]
    counts = {name: verdicts.count(name) for name in dict.fromkeys(verdicts)}
    return (
        verdicts[0] if len(counts) == 1 else ", ".join(f"{name} {count}/{len(group)}" for name, count in counts.items())
    )


def _mean_and_std(column: Measure, group: Sequence[StudyResult]) -> tuple[float | None, float | None]:
    values = [value for f in group if (value := column.of(f)) is not None]
    return float(np.mean(values)) if values else None, float(np.std(values, ddof=1)) if len(values) > 1 else None


def _words(column: Measure, mean: float | None, std: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.{column.digits}f}" + (f" ± {std:.{column.digits}f}" if std is not None else "")


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [f"{cell:.6g}" if isinstance(cell, float) else "" if cell is None else cell for cell in row] for row in rows
    )
    return text.getvalue()
