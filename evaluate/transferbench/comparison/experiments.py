"""Which results may be compared, and what keeps the others apart."""

from collections.abc import Iterable
from typing import Any

import pydantic

from transferbench import settings
from transferbench.errors import UserError
from transferbench.records import Record
from transferbench.records.experiments import Experiment, experiment
from transferbench.tasks import TASKS

Compared = tuple[Experiment, str]


def compared(record: Record) -> Compared:
    """What two results share that may be compared: the experiment and the main score."""
    return experiment(record), record.primary


def differences(first: Record, second: Record) -> list[str]:
    """What keeps two results of one task apart, each as `name a -> b`; empty when nothing does."""
    settings_differ = [
        f"{name} {a} -> {b}"
        for name in sorted({*first.config, *second.config})
        if (a := first.config.get(name, "(not there)")) != (b := second.config.get(name, "(not there)"))
    ]
    others: dict[str, tuple[Any, Any]] = {
        "the task's version": (first.version, second.version),
        "limit": (first.limit, second.limit),
        "the judged split": (first.split or "the usual", second.split or "the usual"),
        "the main score": (first.primary, second.primary),
    }
    data = [
        f"the images of {split}"
        for split in sorted({*first.data_fingerprint, *second.data_fingerprint})
        if first.data_fingerprint.get(split) != second.data_fingerprint.get(split)
    ]
    return settings_differ + [f"{name} {a} -> {b}" for name, (a, b) in others.items() if a != b] + data


def nearest(record: Record, others: Iterable[Record]) -> Record | None:
    """The one of the same task and data set that differs in the least; None when there is none."""
    alike = [other for other in others if (other.task, other.dataset) == (record.task, record.dataset)]
    return min(alike, key=lambda other: len(differences(record, other)), default=None)


def cure(record: Record, file: str, out: str) -> str:
    """The command that makes a result like this one for the weights in `file`."""
    changed = [f"--set '{record.task}.{name}={_yaml(value)}'" for name, value in _changed(record).items()]
    seeds = [f"--seeds {record.seed + 1}"] if record.seed else []
    limit = [f"--limit {record.limit}"] if record.limit else []
    split = [f"--split {record.split}"] if record.split else []
    task = f"evaluate {record.task.replace('_', '-')} {file} --data {record.dataset}"
    return " ".join([task, *changed, *seeds, *limit, *split, f"--out {out}"])


def _changed(record: Record) -> dict[str, Any]:
    """The settings that are not the task's own."""
    try:
        own = TASKS.registered(record.task).Config().model_dump(mode="json")
    except (UserError, pydantic.ValidationError):
        return record.config
    return {name: value for name, value in record.config.items() if own.get(name) != value}


def _yaml(value: Any) -> str:
    return settings.CANONICAL.encode(value)
