"""A job tried on a candidate: what its task found, or the error that kept it from that, as a record."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferbench import records, stopping
from transferbench.checkpoints import Candidate
from transferbench.errors import error_text
from transferbench.features import repeats
from transferbench.records import Record, Score
from transferbench.records.artifacts import keep
from transferbench.runtime.memory import peak_mb
from transferbench.suite import Job
from transferbench.tasks import TASKS, Bench, Dataset, Outcome, Task, completed, depends_on_seed, with_seeding


@dataclass(frozen=True)
class PendingJob:
    """One job on one candidate, and its record before anything ran."""

    job: Job
    candidate: Candidate
    dataset: Dataset
    blank: Record


def failed(blank: Record, error: str) -> Record:
    """The record of a job that ended in an error."""
    return blank.model_copy(update={"status": "failed", "error": error, "written": records.now()})


def attempted(pending_job: PendingJob, bench: Bench, folder: Path | None) -> Record:
    """Run the task and fill in the record, whatever happens. Unfinished work stays in the bench's scratch folder."""
    here = bench.runtime
    if here.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(here.device)
    started = time.perf_counter()
    with repeats.heard() as texts:
        outcome = _outcome(pending_job, bench)
    fields = _fields(outcome, pending_job, folder) if here.is_main and isinstance(outcome, Outcome) else {}
    seconds = time.perf_counter() - started
    errors = [text for each in (outcome, fields) for text in here.gather_objects(each if isinstance(each, str) else "")]
    notes = pending_job.blank.notes + tuple(here.gather_objects(texts)[0])
    measured = {"notes": notes, "seconds": seconds, "peak_memory_mb": peak_mb(here.device), "written": records.now()}
    if any(errors):
        return failed(pending_job.blank, next(filter(None, errors))).model_copy(update=measured)
    status = {"status": "ok", "frozen": True if TASKS.load(pending_job.job.task).FROZEN else None}
    kept: Any = here.gather_objects(fields)[0]
    return pending_job.blank.model_copy(update={**measured, **status, **kept})


def _fields(outcome: Outcome, pending_job: PendingJob, folder: Path | None) -> dict[str, Any] | str:
    """What the record of a finished task says, or the error that keeps it from saying it."""
    try:
        scores = _scores(outcome, pending_job.dataset)
        for score in scores:
            if not math.isfinite(score.value):
                raise ValueError(f"'{pending_job.job.task}' found {score.metric} = {score.value}, which is no number.")
        return {
            "scores": scores,
            "images": outcome.images,
            "artifacts": keep(outcome.artifacts, folder, pending_job.blank) if folder else {},
        }
    except Exception as error:
        return error_text(error)


def _scores(outcome: Outcome, dataset: Dataset) -> tuple[Score, ...]:
    """The scores with the one that the data set is reported in; those of test images name the split that was judged."""
    scores, split = completed(outcome, dataset.test.info).scores, dataset.split
    return tuple(
        each.model_copy(update={"split": split}) if split and each.split == "test" else each for each in scores
    )


def _outcome(pending_job: PendingJob, bench: Bench) -> Outcome | str:
    """What the task found, or the error that kept it from that. The weights are afterwards what they were before."""
    job, dataset = pending_job.job, pending_job.dataset
    task: Task = TASKS.load(job.task)
    backbone = pending_job.candidate.backbone
    weights: dict[str, Tensor] = {}
    try:
        weights = {name: tensor.detach().clone() for name, tensor in backbone.state_dict().items()}
        said = depends_on_seed(task, job.config, dataset)
        outcome = task.run(pending_job.candidate, dataset, job.config, job.seed, bench)
        changed = [name for name, tensor in backbone.state_dict().items() if not _same_bits(tensor, weights[name])]
        if task.FROZEN and changed:
            raise RuntimeError(f"'{job.task}' promises a frozen backbone, but changed {', '.join(changed)}")
        if not isinstance(outcome, Outcome):
            raise TypeError(f"'{job.task}' gave {type(outcome).__name__}; a task gives an Outcome")
        outcome = with_seeding(outcome, said)
    except Exception as error:
        stopping.check()  # one that a stop led to, such as another process that left, is no failure
        outcome = error_text(error)
    if weights:
        backbone.load_state_dict(weights)
    return outcome


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors, wherever they lie, are the same to the bit."""
    first, second = (x.detach().cpu().flatten().view(torch.uint8) for x in (a, b))
    return torch.equal(first, second)
