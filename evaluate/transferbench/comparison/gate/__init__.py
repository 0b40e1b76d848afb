"""New results compared with a baseline: a regression test for the code that trains the checkpoints.

A number has left its band when its mean over seeds is worse than the baseline's by more than the tolerance: so many of
the score's own units (points of an accuracy), or so many standard deviations over the baseline's seeds.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from transferbench.comparison.experiments import cure, differences, nearest
from transferbench.comparison.gate.matches import alike, grouped, matches, names_apart, recipe
from transferbench.errors import UserError
from transferbench.records import Record, Score
from transferbench.records.experiments import place
from transferbench.records.subjects import computations, is_control, values_of

State = Literal["ok", "better", "left", "missing"]
ROUNDING = 1e-9
"""Slack for rounding: a number exactly at the edge of its band counts as inside."""


@dataclass(frozen=True)
class Band:
    """How far a number may move.

    Attributes:
        tolerance: in the score's unit; by task or `TASK.METRIC` where `special` names it.
        sigma: instead, so many standard deviations over the baseline's seeds, where it has two or more.
        both_sides: better by more than that fails too.
        every_score: hold every score of a record to it, and not the main one alone.
    """

    tolerance: float = 1.0
    special: Mapping[str, float] | None = None
    sigma: float | None = None
    both_sides: bool = False
    every_score: bool = False

    def width(self, record: Record, metric: str, values: Sequence[float]) -> tuple[float, str]:
        """How much worse is still in the band, and by which rule."""
        if self.sigma is not None and len(values) > 1:
            return self.sigma * statistics.stdev(values), f"{self.sigma:g} sigma over {len(values)} seeds"
        special = self.special or {}
        for name in (f"{record.task}.{metric}", record.task):
            if name in special:
                return special[name], f"tolerance of {name}"
        return self.tolerance, "tolerance; one seed" if self.sigma is not None else "tolerance"


def band(tolerances: Sequence[str], sigma: float | None, both_sides: bool, every_score: bool) -> Band:
    """The band that the command line's words state: tolerances are `N`, `TASK=N` or `TASK.METRIC=N`.

    Raises:
        UserError: for one that is no number, or negative.
    """
    by_name: dict[str, float] = {}
    for text in tolerances:
        name, _, number = text.rpartition("=")
        try:
            by_name[name] = float(number)
        except ValueError:
            by_name[name] = -1.0
        if not 0 <= by_name[name] < float("inf"):
            raise UserError(f"--tolerance takes N or TASK=N, such as 0.5 or knn=0.5, with N >= 0; found '{text}'.")
    return Band(by_name.pop("", 1.0), by_name, sigma, both_sides, every_score)


@dataclass(frozen=True)
class Verdict:
    """One number of the baseline. `change` is new less old, `width` how much worse is allowed.

    `reason` says what is to be done where the number is missing, `rule` where `width` comes from.
    """

    candidate: str
    dataset: str
    label: str
    metric: str
    unit: str
    state: State
    fails: bool
    old: float
    runs_old: int
    new: float | None = None
    runs_new: int = 0
    change: float | None = None
    width: float | None = None
    rule: str = ""
    reason: str = ""


def gate(baseline: Iterable[Record], new: Iterable[Record], band: Band, allow_missing: bool, out: str) -> list[Verdict]:
    """A verdict on each number of the baseline.

    Results belong together by task, protocol and data, and by the candidate (`matches`).

    Args:
        baseline: records; those that are not finished hold nothing to.
        new: records.
        band: how far a number may move.
        allow_missing: a number that is not there passes.
        out: where commands that make what is missing write to.

    Raises:
        UserError: when the baseline has no finished result.
    """
    old, results = grouped(baseline), list(new)
    if not old:
        raise UserError("The baseline holds no finished result. Make one with `evaluate all`, and keep its folder.")
    theirs = grouped(results)
    verdicts: list[Verdict] = []
    for key, groups in sorted(old.items(), key=lambda item: place(item[1][0][0])):
        named, matched = names_apart(groups), matches(groups, theirs.get(key, []))
        for group in groups:
            match = matched.get(id(group), [])
            old_runs, new_runs = (group, []) if isinstance(match, str) else alike(group, match)
            metrics = [score.metric for score in group[0].scores] if band.every_score else [group[0].primary]
            for metric in metrics:
                values = _values(new_runs, metric)
                verdict = _judged(old_runs, metric, values, band) if values else _missing(group, metric, results, out)
                reason = match if isinstance(match, str) else verdict.reason
                passes = allow_missing if verdict.state == "missing" else not verdict.fails
                verdicts.append(replace(verdict, candidate=named[id(group)], reason=reason, fails=not passes))
    return sorted(verdicts, key=lambda verdict: verdict.candidate)


def _judged(old: Sequence[Record], metric: str, values: Sequence[float], band: Band) -> Verdict:
    before, score = _values(old, metric), old[0].score(metric)
    assert score is not None, "metrics are those of the baseline's first record"
    mean, now = statistics.fmean(before), statistics.fmean(values)
    width, rule = band.width(old[0], metric, before)
    worse = mean - now if score.higher_is_better else now - mean
    state: State = "left" if worse > width + ROUNDING else "better" if -worse > width + ROUNDING else "ok"
    verdict = _blank(old, score, state, state == "left" or (state == "better" and band.both_sides))
    return replace(verdict, new=now, runs_new=len(values), change=now - mean, width=width, rule=rule)


def _missing(old: Sequence[Record], metric: str, results: Sequence[Record], out: str) -> Verdict:
    record, score = old[0], old[0].score(metric)
    assert score is not None, "metrics are those of the baseline's first record"
    same = [each for each in results if each.candidate == record.candidate or recipe(each) == recipe(record)]
    match = nearest(record, same)
    apart = differences(record, match) if match else []
    if match and apart:
        reason = f"the protocol differs (baseline -> new): {', '.join(apart)}"
    elif match and match.status != "ok":
        reason = f"the new result {match.status}: {((match.error or '').strip().splitlines() or ['no reason'])[-1]}"
    else:
        file = f"{record.candidate}=FILE"
        if is_control(record):
            file = "FILE"
        reason = f"no such result. Make it: {cure(record, file, out)}"
    return replace(_blank(old, score, "missing", True), reason=reason)


def _blank(old: Sequence[Record], score: Score, state: State, fails: bool) -> Verdict:
    record, values = old[0], _values(old, score.metric)
    names = (record.candidate, record.dataset, record.label, score.metric, score.unit)
    return Verdict(*names, state, fails, statistics.fmean(values), len(values))


def _values(results: Sequence[Record], metric: str) -> list[float]:
    return values_of(computations(results, metric), metric)
