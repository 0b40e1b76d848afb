"""A comparison for people, as CSV and as JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from transferbench import state
from transferbench.comparison.pairs import ComparedExperiment, Versus
from transferbench.comparison.samples import ChangedImage
from transferbench.comparison.sides import Side, apart, is_own_control
from transferbench.errors import UserError
from transferbench.records.subjects import is_control
from transferbench.tables.cells import cell

HEADS = ("data", "task", "score", "A", "B", "B - A", "95 % interval", "p", "p (Holm)", "only A", "only B", "test")
ABOUT = """
B - A and its interval are in the score's unit. One run each: paired bootstrap over test images, McNemar's exact test.
Several runs: Student's t over seeds, paired where both have the same, so the images are taken as they are. p (Holm) is
corrected for the number of tasks. only A, only B: test images that only one of them gets right, over all pairs of runs.
""".strip()


def text(versus: Versus, samples: Sequence[ChangedImage] = ()) -> str:
    """What the command line prints."""
    rows = [HEADS, *map(_row, versus.lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{line.dataset} {line.label}: {line.note}" for line in versus.lines if line.note]
    parts = [[_side("A", versus.a), _side("B", versus.b), *_foreign(versus)], lines, ABOUT.splitlines(), notes]
    parts += [["Not compared:", *(f"  {reason}" for reason in versus.not_compared)]] if versus.not_compared else []
    parts += [["Changed, in the most results first:", *map(_sample, samples)]] if samples else []
    return "\n\n".join("\n".join(part) for part in parts if part)


def write(path: Path, versus: Versus, samples: Sequence[ChangedImage] = ()) -> None:
    """Write the lines as CSV, or everything as JSON.

    Raises:
        UserError: when the file's name ends in neither.
    """
    if path.suffix == ".csv":
        buffer = io.StringIO()
        table = csv.DictWriter(buffer, [field.name for field in fields(ComparedExperiment)], lineterminator="\n")
        table.writeheader()
        table.writerows({name: cell(value) for name, value in asdict(line).items()} for line in versus.lines)
        state.write(path, buffer.getvalue())
    elif path.suffix == ".json":
        state.write(path, json.dumps(_everything(versus, samples), indent=2, allow_nan=False) + "\n")
    else:
        raise UserError(f"A comparison is written as .csv or .json; found '{path}'.")


def _everything(versus: Versus, samples: Sequence[ChangedImage]) -> dict[str, object]:
    return {
        "a": _identity(versus.a),
        "b": _identity(versus.b),
        "lines": [asdict(line) for line in versus.lines],
        "not_compared": list(versus.not_compared),
        "samples": [asdict(sample) for sample in samples],
    }


def _identity(side: Side) -> dict[str, object]:
    digests = sorted({each.record.digest for each in side.stored})
    return {"name": side.name, "architecture": side.first.card.architecture.name, "digests": digests}


def _side(name: str, side: Side) -> str:
    digests = sorted({each.record.digest[:12] for each in side.stored})
    return f"{name}  {side.name}  {side.first.card.architecture.name}  ({', '.join(digests)})"


def _foreign(versus: Versus) -> list[str]:
    """A line where one side is a control and not the other's own."""
    sides = ((versus.a, versus.b), (versus.b, versus.a))
    return [
        f"Note: {control.name} is not {other.name}'s own control: {', '.join(apart(control.first, other.first))}."
        for control, other in sides
        if is_control(control.first) and not is_control(other.first) and not is_own_control(control, other)
    ]


def _row(line: ComparedExperiment) -> tuple[str, ...]:
    interval = f"{line.interval[0]:+.2f} to {line.interval[1]:+.2f}" if line.interval else "-"
    return (
        line.dataset,
        line.label,
        " ".join(filter(None, [line.metric, line.unit, "" if line.higher_is_better else "(lower is better)"])),
        _mean(line.a, line.runs_a),
        _mean(line.b, line.runs_b),
        f"{line.difference:+.2f}",
        interval,
        _p(line.p_value),
        _p(line.p_holm),
        "-" if line.only_a is None else str(line.only_a),
        "-" if line.only_b is None else str(line.only_b),
        line.test,
    )


def _mean(value: float, runs: int) -> str:
    return f"{value:.2f}" + (f" ({runs})" if runs > 1 else "")


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _sample(sample: ChangedImage) -> str:
    which = f"{sample.dataset} {sample.name}"
    name = which if sample.name == str(sample.index) else f"{which} (#{sample.index})"
    return f"  {sample.gained:+d} of {sample.of}  {name}  is {sample.label}  {'; '.join(sample.answers)}"
