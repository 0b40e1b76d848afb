"""Run jobs on a candidate: every job ends in a record, whatever happens to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from transferbench import records, renamed, runtime, stopping
from transferbench.checkpoints import Candidate
from transferbench.errors import UserError, error_text
from transferbench.plugins import recorded
from transferbench.records import Record
from transferbench.run import scratch
from transferbench.run.attempt import PendingJob, attempted, failed
from transferbench.run.dataset_cache import DatasetCache
from transferbench.suite import Job
from transferbench.tasks import TASKS, Bench, Dataset, Task, primary, require_fit


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
        readable = (record for _, record in records.read_all(self.records) if isinstance(record, Record))
        return {} if self.again else {record.identity: record for record in readable if record.status == "ok"}


@dataclass(frozen=True)
class Hindrance:
    """Why a job cannot begin: what its record says."""

    status: Literal["failed", "skipped"]
    error: str


def run(
    jobs: Sequence[Job],
    candidate: Candidate,
    bench: Bench,
    datasets: DatasetCache,
    output: Output | None = None,
    problems: Mapping[int, str] | None = None,
) -> Iterator[Record]:
    """One record a job, in order, each written before it is yielded.

    A job that is finished in `output` yields its old record under the candidate's present name. Data that is not here
    gives a skipped record; data that is here and cannot be opened, and an error in a task, give a failed one, as do
    `problems`: what planning the job of that number raised. All of them are tried again on the next call. A candidate
    that is not built yet is built for the first job that needs its weights, and let go after the last.
    """
    here = bench.runtime
    environment = {**runtime.environment(), "device": str(here.device), "processes": here.world_size}
    finished = here.gather_objects(output.finished() if output and here.is_main else {})[0]
    whole: Candidate | str | None = None
    for number, job in enumerate(jobs):
        stopping.check()
        begun = _begun(job, candidate, datasets)
        told_by = [each for each in here.gather_objects(begun if isinstance(begun, Hindrance) else None) if each]
        if told_by or isinstance(begun, Hindrance):
            blank = _blank(job, candidate, datasets.split, environment)
            record = blank.model_copy(update={"status": told_by[0].status, "error": told_by[0].error})
        else:
            blank = _blank(job, candidate, begun, environment)
            old, problem = finished.get(blank.identity), (problems or {}).get(number)
            if old:
                record = _renamed(old, blank)
            elif problem:
                record = failed(blank, problem)
            else:
                whole = whole or _built(candidate, here)
                if isinstance(whole, Candidate):
                    yield _attempted(PendingJob(job, whole, begun, blank), bench, output)
                    continue
                record = failed(blank, whole)
        yield _kept(record, output, here)


def _built(candidate: Candidate, here: runtime.Runtime) -> Candidate | str:
    """The candidate with its weights, or what kept some process from them."""
    try:
        found = candidate.built()
    except Exception as error:
        stopping.check()
        found = error_text(error)
    problems = here.gather_objects(found if isinstance(found, str) else "")
    return next(filter(None, problems), found)


def _attempted(pending_job: PendingJob, bench: Bench, output: Output | None) -> Record:
    """The record of a job, on the disk before the work that it tells of is forgotten."""
    with scratch.claimed(bench.scratch, pending_job.blank.identity[:16], bench.runtime) as place:
        own = replace(bench, scratch=place.folder)
        record = _kept(attempted(pending_job, own, output.folder if output else None), output, bench.runtime)
        bench.runtime.barrier()
        place.is_done = record.status == "ok"
    return record


def _kept(record: Record, output: Output | None, here: runtime.Runtime) -> Record:
    """The record, sealed, and written where there is an output."""
    record = record.sealed()
    if output and here.is_main:
        records.write(output.records, record)
        _forget_absence(output.records, record)
    return record


def pending(jobs: Sequence[Job], candidate: Candidate, datasets: DatasetCache, output: Output | None) -> list[Job]:
    """The jobs that `run` would run, or try to: their data is here and their result is not."""
    finished = output.finished() if output else {}
    left: list[Job] = []
    for job in jobs:
        begun = _begun(job, candidate, datasets)
        if isinstance(begun, Hindrance):
            left += [job] if begun.status == "failed" else []
        elif _blank(job, candidate, begun, {}).identity not in finished:
            left.append(job)
    return left


def _begun(job: Job, candidate: Candidate, datasets: DatasetCache) -> Dataset | Hindrance:
    """The data of a job that can be asked of them, else what keeps it from that."""
    dataset = None
    try:
        dataset = datasets.take(job.data, job.limit)
        task: Task = TASKS.load(job.task)
        require_fit(task, candidate, dataset, job.config)
        task.label(job.config)
    except UserError as error:
        return Hindrance("failed" if dataset is None and datasets.is_here(job.data) else "skipped", str(error))
    except Exception as error:
        return Hindrance("failed", error_text(error))
    return dataset


def _blank(job: Job, candidate: Candidate, opened: Dataset | str | None, environment: dict[str, Any]) -> Record:
    """What is known before the task runs; of a data set that is not here the split that was asked for, if any."""
    task: Task = TASKS.load(job.task)
    dataset, split = (opened, opened.split) if isinstance(opened, Dataset) else (None, opened)
    info = dataset.train.info if dataset else None
    return Record(
        status="skipped",
        task=recorded(job.task),
        label=_label(task, job),
        version=task.VERSION,
        primary=primary(task, info) if info else task.PRIMARY,
        dataset=info.name if info else Path(job.data).stem,
        dataset_revision=info.revision if info else "",
        data_fingerprint={s.split: s.fingerprint for s in (dataset.train, dataset.test)} if dataset else {},
        split=split,
        notes=dataset.notes if dataset else (),
        chance=info.chance if info else None,
        candidate=candidate.name,
        digest=candidate.digest,
        file_sha256=candidate.file_sha256,
        card=candidate.card,
        load_report=candidate.report,
        config=job.config.model_dump(mode="json"),
        protocol_sha256=records.protocol_sha256(recorded(job.task), task.VERSION, job.config, split),
        seed=job.seed,
        limit=job.limit,
        seconds=0,
        peak_memory_mb=0,
        written=records.now(),
        environment=environment,
    )


def _label(task: Task, job: Job) -> str:
    """What leaderboards call the job; its own name where the task cannot say."""
    try:
        return task.label(job.config)
    except Exception:
        return job.id


def _renamed(old: Record, blank: Record) -> Record:
    """A finished record under the names that candidate and data set go by now."""
    names = ("candidate", "card", "file_sha256", "load_report", "dataset", "dataset_revision", "label")
    return old.model_copy(update={name: getattr(blank, name) for name in names})


def _forget_absence(folder: Path, record: Record) -> None:
    """Remove the skipped record that an earlier call wrote because the data was not here."""
    if record.data_fingerprint:
        records.path_of(folder, record.model_copy(update={"data_fingerprint": {}})).unlink(missing_ok=True)


__getattr__ = renamed.names_of(__name__)
