"""Run jobs on a candidate: every job ends in a record, whatever happens to it."""

import hashlib
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferbench import records, renamed, runtime, state, tasks
from transferbench.checkpoints import Candidate
from transferbench.data import open_split
from transferbench.data.subsets import limited
from transferbench.errors import UserError
from transferbench.plugins import recorded
from transferbench.records import Artifact, Record
from transferbench.suite import Job
from transferbench.tasks import TASKS, Bench, Dataset, Outcome, Task, completed, primary, require_fit

LIMIT_SEED = 0
"""One for all jobs, so that they share cached features."""


class DatasetCache:
    """The data sets of one call, each opened once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: dict[tuple[str, int | None], Dataset | UserError] = {}

    def take(self, data: str, limit: int | None = None) -> Dataset:
        """Both splits a protocol uses, cut to `limit` images each.

        Raises:
            UserError: when the data set is not here, saying how to get it.
        """
        key = (data, limit)
        if key not in self._opened:
            try:
                self._opened[key] = self._open(data, limit)
            except UserError as error:
                self._opened[key] = error
        found = self._opened[key]
        if isinstance(found, UserError):
            raise found
        return found

    def _open(self, data: str, limit: int | None) -> Dataset:
        if limit is not None:
            whole = self.take(data)
            return Dataset(limited(whole.train, limit, LIMIT_SEED), limited(whole.test, limit, LIMIT_SEED))
        train = open_split(data, "train", self.root)
        return Dataset(train, open_split(data, train.info.test_split, self.root))


@dataclass(frozen=True)
class Output:
    """The folder that records and artifacts go to; `again` runs what is finished there once more."""

    folder: Path
    again: bool = False

    @property
    def records(self) -> Path:
        """Where the records lie."""
        return self.folder / records.RECORDS

    def finished(self) -> dict[str, Record]:
        """What need not run again, by identity."""
        found = (record for _, record in records.read_all(self.records) if isinstance(record, Record))
        return {} if self.again else {record.identity: record for record in found if record.status == "ok"}


@dataclass(frozen=True)
class PendingJob:
    """One job on one candidate, and its record before anything ran."""

    job: Job
    candidate: Candidate
    dataset: Dataset
    blank: Record


def run(
    jobs: Sequence[Job], candidate: Candidate, bench: Bench, datasets: DatasetCache, output: Output | None = None
) -> Iterator[Record]:
    """One record a job, in order, each written before it is yielded.

    A job that is finished in `output` yields its old record under the candidate's present name. Data that is not here
    gives a skipped record, an error in a task a failed one; both are tried again on the next call.
    """
    here = bench.runtime
    environment = {**runtime.environment(), "device": str(here.device), "processes": here.world_size}
    finished = here.gather_objects(output.finished() if output and here.is_main else {})[0]
    for job in jobs:
        try:
            dataset = datasets.take(job.data, job.limit)
            require_fit(TASKS.load(job.task), candidate, dataset, job.config)
        except UserError as error:
            record = _blank(job, candidate, None, environment).model_copy(update={"error": str(error)})
        else:
            blank = _blank(job, candidate, dataset, environment)
            old = finished.get(blank.identity)
            pending_job = PendingJob(job, candidate, dataset, blank)
            record = _renamed(old, blank) if old else _tried(pending_job, bench, output)
        record = record.sealed()
        if output and here.is_main:
            records.write(output.records, record)
            _forget_absence(output.records, record)
        yield record


def pending(jobs: Sequence[Job], candidate: Candidate, datasets: DatasetCache, output: Output | None) -> list[Job]:
    """The jobs that `run` would run: their data is here and their result is not."""
    finished = output.finished() if output else {}
    left: list[Job] = []
    for job in jobs:
        try:
            dataset = datasets.take(job.data, job.limit)
            require_fit(TASKS.load(job.task), candidate, dataset, job.config)
        except UserError:
            continue
        left += [job] if _blank(job, candidate, dataset, {}).identity not in finished else []
    return left


def _blank(job: Job, candidate: Candidate, dataset: Dataset | None, environment: dict[str, Any]) -> Record:
    """What is known before the task runs; without a data set where that is not here."""
    task: Task = TASKS.load(job.task)
    info = dataset.train.info if dataset else None
    return Record(
        status="skipped",
        task=recorded(job.task),
        label=task.label(job.config),
        version=task.VERSION,
        primary=primary(task, info) if info else task.PRIMARY,
        dataset=info.name if info else Path(job.data).stem,
        dataset_revision=info.revision if info else "",
        data_fingerprint={s.split: s.fingerprint for s in (dataset.train, dataset.test)} if dataset else {},
        chance=info.chance if info else None,
        candidate=candidate.name,
        digest=candidate.digest,
        file_sha256=candidate.file_sha256,
        card=candidate.card,
        load_report=candidate.report,
        config=job.config.model_dump(mode="json"),
        protocol_sha256=records.protocol_sha256(recorded(job.task), task.VERSION, job.config),
        seed=job.seed,
        limit=job.limit,
        seconds=0,
        peak_memory_mb=0,
        written=records.now(),
        environment=environment,
    )


def _renamed(old: Record, blank: Record) -> Record:
    """A finished record under the names that candidate and data set go by now."""
    names = ("candidate", "card", "file_sha256", "load_report", "dataset", "dataset_revision", "label")
    return old.model_copy(update={name: getattr(blank, name) for name in names})


def _tried(pending_job: PendingJob, bench: Bench, output: Output | None) -> Record:
    """Run the task and fill in the record, whatever happens. Unfinished work stays in the scratch folder."""
    here, scratch = bench.runtime, bench.scratch / pending_job.blank.identity[:16]
    scratch.mkdir(parents=True, exist_ok=True)
    if here.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(here.device)
    started = time.perf_counter()
    outcome = _outcome(pending_job, replace(bench, scratch=scratch))
    seconds = time.perf_counter() - started
    errors = [text for text in here.gather_objects(outcome if isinstance(outcome, str) else "") if text]
    measured = {"seconds": seconds, "peak_memory_mb": _peak_memory_mb(here.device), "written": records.now()}
    if errors or isinstance(outcome, str):
        return pending_job.blank.model_copy(update={**measured, "status": "failed", "error": errors[0]})
    found = {
        "status": "ok",
        "scores": here.gather_objects(completed(outcome, pending_job.dataset.test.info).scores if here.is_main else ())[
            0
        ],
        "artifacts": _kept(outcome, output.folder, pending_job.blank) if output and here.is_main else {},
        "frozen": True if TASKS.load(pending_job.job.task).FROZEN else None,
    }
    here.barrier()
    if here.is_main:
        shutil.rmtree(scratch)
    return pending_job.blank.model_copy(update={**measured, **found})


def _outcome(pending_job: PendingJob, bench: Bench) -> Outcome | str:
    """What the task found, or the error that kept it from that. The weights are afterwards what they were before."""
    task: Task = TASKS.load(pending_job.job.task)
    backbone = pending_job.candidate.backbone
    weights = {name: tensor.detach().clone() for name, tensor in backbone.state_dict().items()}
    try:
        job, dataset = pending_job.job, pending_job.dataset
        said = tasks.depends_on_seed(task, job.config, dataset)
        outcome = tasks.with_seeding(task.run(pending_job.candidate, dataset, job.config, job.seed, bench), said)
        changed = [name for name, tensor in backbone.state_dict().items() if not _same_bits(tensor, weights[name])]
        if task.FROZEN and changed:
            raise RuntimeError(f"'{pending_job.job.task}' promises a frozen backbone, but changed {', '.join(changed)}")
    except UserError as error:
        outcome = str(error)
    except Exception:
        outcome = traceback.format_exc()
    backbone.load_state_dict(weights)
    return outcome


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors, wherever they lie, are the same to the bit."""
    first, second = (x.detach().cpu().flatten().view(torch.uint8) for x in (a, b))
    return torch.equal(first, second)


def _kept(outcome: Outcome, folder: Path, blank: Record) -> dict[str, Artifact]:
    """Copies of the task's artifacts beside the records, by name."""
    place = Path(records.ARTIFACTS, blank.digest[:12], f"{blank.dataset}.{blank.task}.{blank.identity[:12]}")
    kept = {}
    for name, source in outcome.artifacts.items():
        content = source.read_bytes()
        target = place / f"{name}{source.suffix}"
        state.write(folder / target, content)
        kept[name] = Artifact(path=target.as_posix(), sha256=hashlib.sha256(content).hexdigest())
    return kept


def _forget_absence(folder: Path, record: Record) -> None:
    """Remove the skipped record that an earlier call wrote because the data was not here."""
    if record.data_fingerprint:
        records.path_of(folder, record.model_copy(update={"data_fingerprint": {}})).unlink(missing_ok=True)


def _peak_memory_mb(device: torch.device) -> float:
    """The GPU's peak during the job, MiB; on the CPU the peak of the process so far, which is all the system tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


__getattr__ = renamed.names_of(__name__)
