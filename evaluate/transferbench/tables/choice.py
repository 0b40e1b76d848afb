"""What of the records a table shows, and in which order."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from transferbench.errors import UserError, unknown
from transferbench.records import Record, Score

FIELDS: dict[str, Callable[[Record], object]] = {
    "candidate": lambda record: record.candidate,
    "method": lambda record: record.card.origin.method,
    "recipe": lambda record: record.card.origin.recipe,
    "epochs": lambda record: record.card.origin.epochs,
    "pretrain_data": lambda record: record.card.origin.data,
    "architecture": lambda record: record.card.architecture.name,
    "format": lambda record: record.load_report.format,
    "digest": lambda record: record.digest,
    "dataset": lambda record: record.dataset,
    "split": lambda record: record.split,
    "task": lambda record: record.task,
    "label": lambda record: record.label,
    "seed": lambda record: record.seed,
    "written": lambda record: record.written,
}
"""What `--where` can ask for, beside `config.NAME`."""
COMPARED = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
CONDITION = re.compile(r"([\w.]+)\s*(<=|>=|!=|=|<|>)(.*)", re.DOTALL)
ORDERS = ("rank", "name", "epochs")


@dataclass(frozen=True)
class Choice:
    """What a leaderboard shows.

    Attributes:
        where: `FIELD=PATTERN`, `FIELD!=PATTERN`, `FIELD<NUMBER`, all of which a record must fulfill; * is anything.
        columns: patterns for `DATASET.TASK.METRIC`, `TASK.METRIC`, or a task, label or data set with its main score;
            in this order. None shows every main score.
        sort: `rank`, `name`, `epochs`, or a pattern as for `columns`: the best of that column first.
        limited: show smoke runs too, in columns of their own.
        published: put the published number beside a result made in the same way.
        context: add rows of what was published for these methods, comparable or not.
        tolerance: how far from the published number is still within its band, in the number's unit.
        merged: one column for all protocols of a task on a data set, with a footnote for each.
    """

    where: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    sort: str = "rank"
    limited: bool = False
    published: bool = True
    context: bool = False
    tolerance: float = 1.0
    merged: bool = False

    def conditions(self) -> list[Callable[[Record], bool]]:
        """The conditions of `where`.

        Raises:
            UserError: for a condition that cannot be read or a field there is not.
        """
        return [condition(text) for text in self.where]

    def place(self, record: Record, score: Score) -> int | None:
        """Which of the patterns asks for this score first; None when none does."""
        is_main = score.metric == record.primary
        if not self.columns:
            return 0 if is_main else None
        names = score_names(record.dataset, record.task, record.label, score.metric, is_main)
        fitting = (i for i, wanted in enumerate(self.columns) if any(fnmatchcase(name, wanted) for name in names))
        return next(fitting, None)


def score_names(dataset: str, task: str, label: str, metric: str, is_main: bool) -> list[str]:
    """What a pattern may call a score by."""
    main = [task, label, dataset, f"{dataset}.{task}", f"{dataset}.{label}", metric] if is_main else []
    return [f"{dataset}.{task}.{metric}", f"{task}.{metric}", f"{label}.{metric}", *main]


def condition(text: str) -> Callable[[Record], bool]:
    """A condition on a record, such as `method=intl*` or `config.k>=20`.

    Raises:
        UserError: when it cannot be read or there is no such field.
    """
    match = CONDITION.fullmatch(text.strip())
    if not match:
        raise UserError(f"Cannot read --where '{text}'. Expected FIELD=PATTERN, FIELD!=PATTERN or FIELD<NUMBER.")
    name, sign, wanted = match[1], match[2], match[3].strip()
    value = _field(name)
    if sign in COMPARED:
        bound = _number(wanted)
        if bound is None:
            raise UserError(f"--where '{text}': expected a number after {sign}, found '{wanted}'.")
        return lambda record: (number := _number(value(record))) is not None and COMPARED[sign](number, bound)
    return lambda record: fnmatchcase(_text(value(record)), wanted) == (sign == "=")


def _field(name: str) -> Callable[[Record], object]:
    if name.startswith("config."):
        key = name.removeprefix("config.")
        return lambda record: record.config.get(key)
    if name not in FIELDS:
        raise unknown("field", name, [*FIELDS, "config.NAME"])
    return FIELDS[name]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    try:
        return float(_text(value))
    except ValueError:
        return None


def filtered(records: Sequence[Record], choice: Choice) -> list[Record]:
    """The records that fulfill every condition."""
    conditions = choice.conditions()
    return [record for record in records if all(holds(record) for holds in conditions)]
