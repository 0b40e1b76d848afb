"""What a task is given, what it gives back, and what it may offer beside."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from transferbench import state
from transferbench.checkpoints import Candidate
from transferbench.data import Carries, LabeledImages
from transferbench.data.dataset import Dataset
from transferbench.features.extraction import FeatureSet, Report, extract
from transferbench.features.spec import FeatureSpec, LayerSpec, Precision
from transferbench.probing.cost import BOTH, PLAIN, JobCost
from transferbench.records import Score
from transferbench.runtime import Runtime
from transferbench.settings import Settings


@dataclass(frozen=True)
class Bench:
    """Where a task works: machine, cached features, folder for its artifacts and unfinished state, loader processes.

    `report` is told (done, total) of long loops: images of an extraction, epochs of a fit.
    """

    runtime: Runtime
    cache: Path
    scratch: Path
    workers: int = 0
    report: Report | None = None

    def features(self, candidate: Candidate, images: LabeledImages, asked: Precision | LayerSpec) -> FeatureSet:
        """Features of a split, extracted once and cached: the backbone's output, or what a reading says."""
        return extract(candidate, images, self.cache, self.runtime, self.workers, asked, self.report)

    def keep(self, name: str, content: Mapping[str, np.ndarray] | str | bytes) -> Path:
        """Write an artifact, arrays as npz, all else as it is, from the main process; returns where it lies."""
        path = self.scratch / name
        if self.runtime.is_main:
            state.write(path, content if isinstance(content, str | bytes) else _npz(content))
        return path


@dataclass(frozen=True)
class Outcome:
    """What a task found: scores, and files worth keeping by name (predictions, curves, spectra).

    The artifact `predictions` of a classifier is an npz with `labels` and `predictions`, one class each a test image:
    it is what `mean_per_class` is measured on, and what two candidates are compared by. A task on a part of the
    training images says in `images` how many those really were, by score, or under "" for all scores.
    """

    scores: tuple[Score, ...]
    artifacts: dict[str, Path] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)


@runtime_checkable
class Task(Protocol):
    """What a file in this folder offers.

    `VERSION` changes whenever the same settings could give another number; `FROZEN` says whether the backbone must come
    out bit-identical (checked); `PRIMARY` names the score that leaderboards show, where `top1` stands for whatever the
    data set is reported in. What else a file may offer: `LABELS` (`Labeled`), `depends_on_seed` (`Seeded`), `unfit`
    (`Selective`), `cost` (`Counting`) and `forecast` (`Forecasting`).
    """

    VERSION: ClassVar[str]
    FROZEN: ClassVar[bool]
    PRIMARY: ClassVar[str]
    Config: ClassVar[type[Settings]]

    def label(self, config: Any) -> str:
        """What leaderboards call the task with these settings, such as `k-NN` or `10 %`."""
        ...

    def run(self, candidate: Candidate, dataset: Dataset, config: Any, seed: int, bench: Bench) -> Outcome:
        """Judge the candidate on the data set; `seed` is the only source of chance."""
        ...


@runtime_checkable
class Labeled(Protocol):
    """A task for other data sets than those with one label an image: those that carry one of `LABELS`."""

    LABELS: ClassVar[tuple[Carries, ...]]


@runtime_checkable
class Seeded(Protocol):
    """A task that says whether chance has a part in it; one that does not say runs with every seed."""

    def depends_on_seed(self, config: Any, dataset: Dataset) -> bool:
        """Whether another seed can give another score; where it cannot, the job runs once for all seeds."""
        ...


@runtime_checkable
class Selective(Protocol):
    """A task that not every candidate and data set suits."""

    def unfit(self, candidate: Candidate, dataset: Dataset, config: Any) -> str | None:
        """Why it cannot be asked of the candidate: the job is skipped for that reason; None when it can.

        The candidate may not be built yet: ask its card, and its backbone for names and shapes alone.
        """
        ...


@runtime_checkable
class Counting(Protocol):
    """A task that computes something else than the features of both splits."""

    def cost(self, config: Any, n_train: int, n_test: int, classes: int) -> JobCost:
        """What these settings let it compute on so many images, before any is read."""
        ...


@runtime_checkable
class Forecasting(Protocol):
    """A task whose images pass more than the backbone does."""

    def forecast(self, candidate: Candidate, dataset: Dataset, config: Any, bench: Bench) -> tuple[float, int]:
        """The seconds and bytes that `run` takes here."""
        ...


def cost_of(task: Task, config: Settings, dataset: Dataset) -> JobCost:
    """What a task says that it computes; of one that does not say, the features of both splits once.

    What such a task does with the features, or with images besides, is not known and not counted.
    """
    if isinstance(task, Counting):
        return task.cost(config, len(dataset.train), len(dataset.test), len(dataset.train.info.classes))
    return JobCost(BOTH, reading=config if isinstance(config, FeatureSpec) else PLAIN)


def depends_on_seed(task: Task, config: Settings, dataset: Dataset) -> bool | None:
    """What a task says of its seed; None of one that does not say."""
    said = task.depends_on_seed(config, dataset) if isinstance(task, Seeded) else None
    return None if said is None else bool(said)


def with_seeding(outcome: Outcome, said: bool | None) -> Outcome:
    """The outcome whose scores all say whether a seed can change them, as far as the task said."""
    scores = (each if each.seeded is not None else each.model_copy(update={"seeded": said}) for each in outcome.scores)
    return replace(outcome, scores=tuple(scores))


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(buffer, **named)
    return buffer.getvalue()
