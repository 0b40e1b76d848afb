"""The evaluation protocols, one family a file, and what they are given."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from transferbench import plugins
from transferbench.checkpoints import Candidate
from transferbench.data import LabelledImages
from transferbench.records import Score
from transferbench.runtime import Runtime
from transferbench.settings import Settings

TASKS = plugins.Room("transferbench.tasks", "task")


@dataclass(frozen=True)
class Bench:
    """Where a task works: machine, cached features, folder for its artifacts and unfinished state, loader processes."""

    runtime: Runtime
    cache: Path
    scratch: Path
    workers: int = 0


@dataclass(frozen=True)
class Dataset:
    """The two splits a protocol uses."""

    train: LabelledImages
    test: LabelledImages


@dataclass(frozen=True)
class Outcome:
    """What a task found: scores, and files worth keeping by name (predictions, curves, spectra)."""

    scores: tuple[Score, ...]
    artifacts: dict[str, Path] = field(default_factory=dict)


class Task(Protocol):
    """What a file in this folder offers.

    `VERSION` changes whenever the same settings could give another number; `FROZEN` says whether the backbone must come
    out bit-identical (checked); `PRIMARY` names the score that leaderboards show.
    """

    VERSION: ClassVar[str]
    FROZEN: ClassVar[bool]
    PRIMARY: ClassVar[str]
    Config: ClassVar[type[Settings]]

    def run(self, candidate: Candidate, dataset: Dataset, config: Any, seed: int, bench: Bench) -> Outcome: ...
