"""Two candidates on every task that both have: values, difference, interval, test; and why the rest has none."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from transferbench import intervals
from transferbench.comparison import compare
from transferbench.comparison.experiments import Compared, compared
from transferbench.comparison.reasons import apart, unfinished
from transferbench.comparison.sides import Side, find_sides
from transferbench.errors import UserError
from transferbench.intervals import Comparison, Interval
from transferbench.records import Record
from transferbench.records.collection import StoredRecord
from transferbench.records.experiments import place
from transferbench.records.subjects import computations, values_of

ROUNDING = 1e-6
"""Points by which a value and the predictions it was measured on may disagree."""
Pairs = tuple[tuple[StoredRecord, StoredRecord], ...]


@dataclass(frozen=True)
class ComparedExperiment:
    """One experiment of both; values, difference (B less A) and interval in `unit`.

    Attributes:
        a: the mean over A's runs, of which there are `runs_a`.
        interval: 95 %: over test images where there is one run each (paired bootstrap), else over seeds.
        p_value: of `test`; `p_holm` is corrected over all lines.
        only_a: on how many test images A alone is right, summed over the pairs of runs.
        n: of how many.
        note: why something is not known.
    """

    dataset: str
    task: str
    label: str
    metric: str
    unit: str
    higher_is_better: bool
    protocol_sha256: str
    a: float
    b: float
    runs_a: int
    runs_b: int
    difference: float
    test: str = "none"
    interval: Interval | None = None
    p_value: float | None = None
    p_holm: float | None = None
    only_a: int | None = None
    only_b: int | None = None
    n: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Versus:
    """A against B: a line for each experiment of both, the runs behind it, and what cannot be compared with why."""

    a: Side
    b: Side
    lines: tuple[ComparedExperiment, ...]
    pairs: dict[Compared, Pairs]
    not_compared: tuple[str, ...]


@contextmanager
def between(a: str, b: str, folders: Sequence[Path]) -> Iterator[Versus]:
    """The comparison of what `a` and `b` stand for, their records being looked for in `folders`.

    Raises:
        UserError: when one stands for nothing or for several candidates, or when nothing of both can be compared.
    """
    with ExitStack() as stack:
        comparison = versus(*find_sides(a, b, folders, stack), str(folders[0]))
        if not comparison.lines:
            raise UserError("\n".join([f"No result of {a} and {b} can be compared.", *comparison.not_compared]))
        yield comparison


def versus(a: Side, b: Side, out: str) -> Versus:
    """Compare two candidates; commands that would make missing results write to `out`."""
    ours, theirs = _by_experiment(a), _by_experiment(b)
    shared = sorted(ours.keys() & theirs.keys(), key=lambda key: place(ours[key][0].record))
    paired = {key: _paired(ours[key], theirs[key]) for key in shared}
    lines = [_line(ours[key], theirs[key], paired[key]) for key in shared]
    known = [line.p_value for line in lines if line.p_value is not None]
    corrected = iter(intervals.holm(known))
    lines = [line if line.p_value is None else replace(line, p_holm=next(corrected)) for line in lines]
    alone = [
        [each for key, stored in side.items() if key not in paired for each in stored[:1]] for side in (ours, theirs)
    ]
    reasons = [*apart(alone[0], alone[1], (a, b), out), *unfinished("A", a), *unfinished("B", b)]
    return Versus(a, b, tuple(lines), paired, tuple(dict.fromkeys(reasons)))


def _by_experiment(side: Side) -> dict[Compared, list[StoredRecord]]:
    """The finished results by experiment, in the order of seeds, each computation once."""
    groups: dict[Compared, list[StoredRecord]] = defaultdict(list)
    for each in sorted(side.stored, key=lambda each: _seeds(each.record)):
        if each.record.status == "ok" and each.record.score(each.record.primary):
            groups[compared(each.record)].append(each)
    runs = {key: computations([each.record for each in stored], key[1]) for key, stored in groups.items()}
    kept = {id(record) for stored in runs.values() for record in stored}
    return {key: [each for each in stored if id(each.record) in kept] for key, stored in groups.items()}


def _seeds(record: Record) -> tuple[int, int]:
    """Of the checkpoint and of the task; -1 where nobody said."""
    origin = record.card.origin.seed
    return -1 if origin is None else origin, record.seed


def _paired(ours: Sequence[StoredRecord], theirs: Sequence[StoredRecord]) -> Pairs:
    """Runs of equal seeds; one run each is a pair whatever its seed. Empty where the seeds are not the same.

    So it is where a control's network was measured several times, which then count as one.
    """
    if len(ours) == len(theirs) == 1:
        return ((ours[0], theirs[0]),)
    if any(
        len(values_of([each.record for each in side], side[0].record.primary)) < len(side) for side in (ours, theirs)
    ):
        return ()
    mine, other = ([_seeds(each.record) for each in side] for side in (ours, theirs))
    return tuple(zip(ours, theirs, strict=True)) if mine == other and len(set(mine)) == len(mine) else ()


def _line(ours: Sequence[StoredRecord], theirs: Sequence[StoredRecord], pairs: Pairs) -> ComparedExperiment:
    metric = theirs[0].record.primary
    first, second = (values_of([each.record for each in side], metric) for side in (ours, theirs))
    record = theirs[0].record
    score = record.score(record.primary)
    assert score is not None, "_by_experiment keeps no record without its main score"
    line = ComparedExperiment(
        dataset=record.dataset,
        task=record.task,
        label=record.label,
        metric=score.metric,
        unit=score.unit,
        higher_is_better=score.higher_is_better,
        protocol_sha256=record.protocol_sha256,
        a=statistics.fmean(first),
        b=statistics.fmean(second),
        runs_a=len(first),
        runs_b=len(second),
        difference=statistics.fmean(second) - statistics.fmean(first),
    )
    line = _counted(line, pairs)
    if len(first) == len(second) == 1:
        return line
    outcome = intervals.over_seeds(first, second, paired=bool(pairs))
    if outcome is None:
        return replace(line, test="none", interval=None, p_value=None, note="too few seeds, or no spread over them")
    test = f"t, paired, {len(pairs)} seeds" if pairs else f"Welch's t, {len(first)} and {len(second)} seeds"
    return replace(line, test=test, interval=outcome[0], p_value=outcome[1])


def _counted(line: ComparedExperiment, pairs: Pairs) -> ComparedExperiment:
    """With the images that one side alone gets right; of one pair also interval and McNemar's test."""
    if line.unit != "%":
        return replace(line, note="no accuracy: nothing to count")
    try:
        comparisons = [compare(a.record, b.record, a.out, b.out) for a, b in pairs]
    except UserError as error:
        return replace(line, note=str(error))
    if not comparisons:
        return line
    if abs(100 * statistics.fmean(each.difference for each in comparisons) - line.difference) > ROUNDING:
        return replace(line, note="the stored predictions are of another score")
    only_a, only_b = sum(each.only_first for each in comparisons), sum(each.only_second for each in comparisons)
    line = replace(line, only_a=only_a, only_b=only_b, n=sum(each.n for each in comparisons))
    return _tested(line, comparisons[0]) if len(comparisons) == 1 else line


def _tested(line: ComparedExperiment, comparison: Comparison) -> ComparedExperiment:
    low, high = (100 * bound for bound in comparison.interval)
    return replace(line, test="McNemar, exact", interval=(low, high), p_value=comparison.p_value)
