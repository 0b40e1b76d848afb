"""The evaluation protocols, one family a file, and what they are given."""

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from transferbench import intervals, plugins, state
from transferbench.checkpoints import Candidate
from transferbench.data import DatasetInfo, LabelledImages
from transferbench.errors import UserError
from transferbench.features.extraction import FeatureSet, Report, extract
from transferbench.features.spec import FeatureSpec, Precision
from transferbench.metrics import mean_per_class, top_k_hits, wilson
from transferbench.probing.probe import Fitted
from transferbench.records import Score
from transferbench.runtime import Runtime
from transferbench.settings import Settings

TASKS = plugins.Registry("transferbench.tasks", "task")


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

    def features(self, candidate: Candidate, images: LabelledImages, asked: Precision | FeatureSpec) -> FeatureSet:
        """Features of a split, extracted once and cached: the backbone's output, or what a reading says."""
        return extract(candidate, images, self.cache, self.runtime, self.workers, asked, self.report)

    def keep(self, name: str, content: Mapping[str, np.ndarray] | str | bytes) -> Path:
        """Write an artifact, arrays as npz, all else as it is, from the main process; returns where it lies."""
        path = self.scratch / name
        if self.runtime.is_main:
            state.write(path, content if isinstance(content, str | bytes) else _npz(content))
        return path


@dataclass(frozen=True)
class Dataset:
    """The two splits a protocol uses."""

    train: LabelledImages
    test: LabelledImages


@dataclass(frozen=True)
class Outcome:
    """What a task found: scores, and files worth keeping by name (predictions, curves, spectra).

    The artifact `predictions` of a classifier is an npz with `labels` and `predictions`, one class each a test image:
    it is what `mean_per_class` is measured on, and what two candidates are compared by.
    """

    scores: tuple[Score, ...]
    artifacts: dict[str, Path] = field(default_factory=dict)


@runtime_checkable
class Task(Protocol):
    """What a file in this folder offers.

    `VERSION` changes whenever the same settings could give another number; `FROZEN` says whether the backbone must come
    out bit-identical (checked); `PRIMARY` names the score that leaderboards show, where `top1` stands for whatever the
    data set is reported in. `LABELS`, when given, says which data sets it is for: `several` labels an image, `any`
    number of them, or annotated `boxes`; `one` when not given. `unfit(candidate, dataset, config)`, where there is one,
    says why it cannot be asked of a candidate, and the job is skipped for that reason; None when it can.
    `forecast(candidate, dataset, config, bench)`, where there is one, says the seconds and bytes that `run` takes here:
    a task whose images pass more than the backbone does.
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


def accuracy(metric: str, hits: Bool[np.ndarray, "n"], selected_by: Literal["last", "val", "test"] = "last") -> Score:
    """The percentage of hits with its 95 % intervals over test samples, Wilson's and the bootstrap's."""
    n, count = len(hits), int(hits.sum())
    return Score(
        metric=metric,
        value=100 * count / n,
        selected_by=selected_by,
        n=n,
        interval=_percent(wilson(count, n)),
        bootstrap=_percent(intervals.bootstrap(hits)),
    )


def primary(task: Task, info: DatasetInfo) -> str:
    """The score that leaderboards show of a task on a data set."""
    return info.metric if task.PRIMARY == "top1" else task.PRIMARY


KINDS = {"map11": "several", "box_ap": "boxes"}
"""What the images of a data set have, by what it is reported in; one label where it is none of these."""


def require_fit(task: Task, candidate: Candidate, dataset: Dataset, config: Settings) -> None:
    """Whether the task can be asked of the data set, one label an image, several or boxes, and of the candidate.

    Raises:
        UserError: when not, naming the tasks that can or the reason.
    """
    info = dataset.train.info
    found = KINDS.get(info.metric, "one")
    if not _takes(task, found):
        fitting = [name for name, each in TASKS.all() if _takes(each, found)]
        has = "annotated boxes" if found == "boxes" else f"{found} label(s) per image"
        raise UserError(f"{info.name} has {has}. Expected a task for that: {', '.join(fitting)}.")
    reason = task.unfit(candidate, dataset, config) if hasattr(task, "unfit") else None  # pyright: ignore
    if reason is not None:
        raise UserError(reason)


def _takes(task: Task, found: str) -> bool:
    labels = getattr(task, "LABELS", "one")
    return labels == found or (labels == "any" and found != "boxes")


def completed(outcome: Outcome, info: DatasetInfo) -> Outcome:
    """The outcome with the score its data set is reported in, measured on the predictions where the task did not."""
    if info.metric != "mean_per_class" or info.metric in {score.metric for score in outcome.scores}:
        return outcome
    path = outcome.artifacts.get("predictions")
    kept = dict(np.load(path)) if path else {}
    if "predictions" not in kept:
        return outcome
    labels = kept["labels"]
    hits = kept["predictions"] == labels
    score = Score(
        metric=info.metric,
        value=100 * mean_per_class(hits, labels),
        n=len(hits),
        bootstrap=_percent(intervals.bootstrap(hits, labels)),
    )
    return dataclasses.replace(outcome, scores=(score, *outcome.scores))


def trained(fitted: Fitted, test: LabelledImages, bench: Bench) -> Outcome:
    """The scores of a trained head: after the last epoch, and of the epoch that the test images themselves choose.

    Artifacts are the learning curve and the last epoch's predictions.
    """
    scores = [accuracy("top1", top_k_hits(fitted.logits, test.labels, 1))]
    if fitted.logits.shape[1] > 5:
        scores.append(accuracy("top5", top_k_hits(fitted.logits, test.labels, 5)))
    best = fitted.best_epoch.test_top1
    scores.append(Score(metric="top1_best_epoch", value=best, selected_by="test", n=len(test)))
    kept = {"labels": test.labels, "predictions": fitted.logits.argmax(1)}
    artifacts = {"curve": bench.keep("curve.jsonl", fitted.jsonl())}
    return Outcome(tuple(scores), artifacts | {"predictions": bench.keep("predictions.npz", kept)})


def _percent(interval: tuple[float, float]) -> tuple[float, float]:
    return 100 * interval[0], 100 * interval[1]


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()
