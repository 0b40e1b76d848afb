"""The evaluation protocols, one family a file, and what they are given."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool

from transferbench import intervals, renamed
from transferbench.checkpoints import Candidate
from transferbench.data import Carries, DatasetInfo, LabeledImages
from transferbench.data.dataset import Dataset
from transferbench.errors import UserError
from transferbench.metrics import mean_per_class, top_k_hits, wilson
from transferbench.probing.cost import JobCost
from transferbench.probing.probe import Fitted
from transferbench.records import Score
from transferbench.registries import TASKS
from transferbench.settings import Settings
from transferbench.tasks._contract import (
    Bench,
    Counting,
    Forecasting,
    Labeled,
    Outcome,
    Seeded,
    Selective,
    Task,
    cost_of,
    depends_on_seed,
    with_seeding,
)

__all__ = [
    "EXAMPLES",
    "TASKS",
    "Bench",
    "Counting",
    "Dataset",
    "Forecasting",
    "JobCost",
    "Labeled",
    "Outcome",
    "Seeded",
    "Selective",
    "Task",
    "accuracy",
    "completed",
    "cost_of",
    "depends_on_seed",
    "examples",
    "primary",
    "require_fit",
    "taken",
    "takes",
    "trained",
    "with_seeding",
]


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


def require_fit(task: Task, candidate: Candidate, dataset: Dataset, config: Settings) -> None:
    """Whether the task can be asked of the data set, one label an image, several or boxes, and of the candidate.

    Raises:
        UserError: when not, naming the tasks that can or the reason.
    """
    info = dataset.train.info
    if not takes(task, info.carries):
        fitting = [name for name, each in TASKS.all() if takes(each, info.carries)]
        raise UserError(f"{info.name} carries {info.carries}. Expected a task for that: {', '.join(fitting)}.")
    if not isinstance(task, Labeled) and len(info.classes) - info.unseen < 2:
        raise UserError(
            f"The images of {info.name} are of one class ({', '.join(info.classes[:5])}), so that every prediction is "
            "right. Expected two classes or more, each in a folder of its own: ROOT/train/CLASS/IMAGE."
        )
    reason = task.unfit(candidate, dataset, config) if isinstance(task, Selective) else None
    if reason is not None:
        raise UserError(reason)


def takes(task: Task, carried: Carries) -> bool:
    """Whether a task is for data sets that carry this."""
    return carried in taken(task)


EXAMPLES: dict[Carries, str] = {"one label": "digits", "boxes": "digit-scenes", "label maps": "digit-scenes-maps"}
"""An embedded data set of each kind; of several labels an image there is none."""


def examples(task: Task) -> list[str]:
    """The embedded data sets that a task is for."""
    return [EXAMPLES[each] for each in taken(task) if each in EXAMPLES]


def taken(task: Task) -> tuple[Carries, ...]:
    """What the data sets carry that a task is for."""
    return task.LABELS if isinstance(task, Labeled) else ("one label",)


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
        seeded=outcome.scores[0].seeded if outcome.scores else None,
    )
    return dataclasses.replace(outcome, scores=(score, *outcome.scores))


def trained(fitted: Fitted, test: LabeledImages, bench: Bench) -> Outcome:
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


__getattr__ = renamed.names_of(__name__)
