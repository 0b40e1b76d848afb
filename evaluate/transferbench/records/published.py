"""What papers and repositories report: `results/published.csv`, and which of its numbers a result may stand beside."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from transferbench.resources import resource

if TYPE_CHECKING:
    from transferbench.records import Record

FILE = "results/published.csv"

Status = Literal["verified", "secondary", "unverified"]
"""Read at its source; read where another paper restates it; in doubt, or of a protocol that is not stated."""


@dataclass(frozen=True)
class Published:
    """One number as it was published.

    Attributes:
        method: as `pretrain` calls it where it knows it.
        variant: what the method's name does not say: views, crops, shuffling.
        arch: as `size_of` writes it.
        pretrain_data: the data set the backbone was trained on; empty when it was not trained.
        epochs: of pretraining; None when not stated.
        dataset: what it was judged on.
        task: the task of ours that measures the same.
        settings: of that task, those that its protocol fixes; `preset` stands for all that a preset of it does.
        note: why no task of ours measures quite the same; empty when one does.
        std: over runs, where it was stated.
    """

    method: str
    variant: str
    arch: str
    pretrain_data: str
    epochs: int | None
    batch_size: int | None
    momentum: str
    dataset: str
    task: str
    settings: tuple[tuple[str, str], ...]
    metric: str
    value: float
    std: float | None
    status: Status
    note: str
    source: str

    def is_measured_by(self, record: "Record") -> bool:
        """Whether the record's task and settings are this number's protocol; the data set is not looked at."""
        config = record.config
        return (
            not self.note
            and record.split is None
            and self.task == record.task
            and all(
                _is_named(value, record.label) if name == "preset" else str(config.get(name)) == value
                for name, value in self.settings
            )
        )

    def is_of(self, record: "Record") -> bool:
        """Whether it was published for a backbone made as the record's was: method, network, data and epochs."""
        origin = record.card.origin
        return (
            self.method == origin.method
            and self.arch == size_of(record.card.architecture.name)
            and self.pretrain_data == (origin.data or "")
            and self.epochs is not None
            and self.epochs == origin.epochs
        )


@cache
def numbers() -> tuple[Published, ...]:
    """All of them, the unverified last."""
    with resource(FILE).open(newline="") as file:
        return tuple(_number(line) for line in csv.DictReader(file))


def beside(record: "Record", metric: str) -> Published | None:
    """The number that a result should come near, or None.

    That is a verified or restated one of the same data set, protocol, network, data and epochs of pretraining, in the
    variant that the names of candidate and recipe speak of: the plain one when they speak of none.
    """
    if record.limit is not None:
        return None
    fitting = [
        (len(words), -place, number)
        for place, number in enumerate(numbers())
        if number.metric == metric
        and number.dataset == record.dataset
        and number.status != "unverified"
        and number.is_of(record)
        and number.is_measured_by(record)
        and (words := _words(number.variant)) <= _words(f"{record.candidate} {record.card.origin.recipe or ''}")
    ]
    return max(fitting)[2] if fitting else None


def around(records: "Iterable[Record]") -> list[Published]:
    """What was published for the records' methods, on their data sets or those that theirs are versions of."""
    wanted = {
        (record.card.origin.method, version_of(record.dataset), version_of(record.card.origin.data or ""))
        for record in records
    }
    return [
        number
        for number in numbers()
        if number.status != "unverified" and (number.method, number.dataset, number.pretrain_data) in wanted
    ]


def version_of(dataset: str) -> str:
    """The data set that one called `NAME-something` is a version of."""
    return dataset.partition("-")[0]


def size_of(architecture: str) -> str:
    """An architecture's name without its stem and other details: `resnet18-cifar` is a `resnet18`."""
    match = re.match(r"vit-[^-]+|[a-z_]+\d+(-w[\d.]+)?", architecture)
    return match[0] if match else architecture


def _is_named(preset: str, label: str) -> bool:
    """Whether a task's label names the preset in its brackets, as it does where all of the preset's values hold."""
    return re.search(rf"[( ]{re.escape(preset)}[,)]", label) is not None


def _words(text: str) -> set[str]:
    return set(re.findall("[a-z0-9]+", text.lower())) - {"views"}


def _number(line: dict[str, str]) -> Published:
    whole = {name: int(line[name]) if line[name] else None for name in ("epochs", "batch_size")}
    settings = tuple(
        (name, value) for name, _, value in (each.partition("=") for each in line["settings"].split(";") if each)
    )
    read: dict[str, Any] = {
        **line,
        **whole,
        "settings": settings,
        "value": float(line["value"]),
        "std": float(line["std"]) if line["std"] else None,
    }
    return Published(**read)
