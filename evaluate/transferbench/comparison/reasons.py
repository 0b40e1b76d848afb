"""Why results that only one of two candidates has are not compared."""

from collections.abc import Sequence

from transferbench.comparison.experiments import cure, differences, nearest
from transferbench.comparison.sides import Side
from transferbench.records import Record
from transferbench.records.collection import StoredRecord
from transferbench.records.experiments import place


def apart(
    ours: Sequence[StoredRecord], theirs: Sequence[StoredRecord], sides: tuple[Side, Side], out: str
) -> list[str]:
    """Why results that only one side has can be compared with none of the other's."""
    left, lines = [each.record for each in theirs], []
    for record in sorted((each.record for each in ours), key=place):
        if match := nearest(record, left):
            left.remove(match)
            reasons = ", ".join(differences(record, match)) or "the protocol's hash"
            lines.append(f"{_what(record)}: A -> B differs in {reasons}")
        else:
            lines.append(f"{_what(record)}: B has no result. Make it: {cure(record, sides[1].file, out)}")
    missing = (f"{_what(r)}: A has no result. Make it: {cure(r, sides[0].file, out)}" for r in sorted(left, key=place))
    return [*lines, *missing]


def unfinished(name: str, side: Side) -> list[str]:
    """What went wrong on one side, or was not there."""
    bad = [each.record for each in side.stored if each.record.status != "ok"]
    return [f"{_what(record)}: {name} {record.status}: {_last(record.error)}" for record in bad]


def _last(error: str | None) -> str:
    return ((error or "").strip().splitlines() or ["no reason"])[-1]


def _what(record: Record) -> str:
    return f"{record.dataset} {record.label}"
