"""Evaluate checkpoints or live modules from Python; the command line uses the same code."""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn

from transferbench import records, renamed, state, stopping
from transferbench import suite as suites
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.load import examine, wrap
from transferbench.data.evaluation_views import remembering
from transferbench.data.live import LabeledSplits, handed_over
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.features.extraction import Report, cache_of
from transferbench.features.spec import FeatureSpec
from transferbench.planning.assignments import Assignment, assigned, controls, distinct, suited, unseeded
from transferbench.planning.plan import Estimate, forecast, ordered, problems_of
from transferbench.records import Record
from transferbench.run import Output, pending, run
from transferbench.run.dataset_cache import DatasetCache
from transferbench.runtime import Runtime, cache_root, data_root, memory, start
from transferbench.suite import Suite
from transferbench.tasks import EXAMPLES, TASKS, Bench, examples

Model = nn.Module | Candidate | str | Path
Data = str | Path | LabeledSplits
Begin = Callable[[str], None]
"""Called with what is begun and may take long: `reading a.pth`."""

DATA = EXAMPLES["one label"]
"""What is judged on when neither the caller nor the suite names a data set, nor the tasks take another kind."""


def untold(what: str) -> None:
    """Tell nobody what is begun."""


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, and on what.

    Attributes:
        models: files, libraries' names (`timm:NAME`), `NAME=file` to name a row, live modules, or what was loaded.
        data: data sets by name or path, or handed over; none takes those that the suite names, else embedded ones.
        name: what tables call the model, where there is one.
        suite: a suite, its name or its file; None takes each data set's own.
        task: run only this task's jobs.
        only: run only the jobs of these names (ids or tasks); none names all.
        skip: leave out the jobs of these names.
        overrides: `JOB.KEY=VALUE`.
        limit: keep only so many images of each split (a smoke run, left out of leaderboards).
        seeds: each job runs once with each; one that no seed changes runs once.
        split: judge on this split, `val` or `test`; None takes each data set's own.
        image_range: the values that are black and white in images of more than 8 bits a channel.
        control: add random-initialized networks of each architecture, one for each seed.
        encoder: which network of a file that holds several.
        stated: `NAME=VALUE`, arguments of the architecture or of its images that files do not tell.
        preprocess: what live modules expect; None is the data set's own size and ImageNet's statistics.
        features: settings of features for all jobs that read some of a frozen backbone.
    """

    models: Sequence[Model]
    data: Sequence[Data] = ()
    suite: Suite | str | Path | None = None
    task: str | None = None
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    overrides: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    limit: int | None = None
    split: str | None = None
    image_range: Sequence[int | float] | None = None
    control: bool = True
    encoder: str | None = None
    stated: Sequence[str] = ()
    preprocess: Preprocess | None = None
    name: str | None = None
    features: FeatureSpec | Mapping[str, Any] | None = None

    @property
    def names(self) -> list[str]:
        """What its data sets are called here."""
        return handed_over(self.data)[0]


@dataclass(frozen=True)
class Execution:
    """Where the work is done and kept; nothing here can change a number. Without `out` nothing is kept."""

    runtime: Runtime
    out: Path | None = None
    again: bool = False
    data: Path = field(default_factory=data_root)
    cache: Path = field(default_factory=cache_root)
    workers: int = 0
    image_memory: int = field(default_factory=lambda: min(4 << 30, memory.installed() // 8))
    """Bytes that decoded images may take, which networks and epochs share."""


@dataclass(frozen=True)
class Evaluation:
    """Work that is checked and ready: every setting is valid, every file is read, some data is here.

    No network of a file and no control is built before its turn (`Candidate.built`), and each goes after it.

    `problems` holds what planning or forecasting raised, by the numbers of assignment and job: such a job is not run,
    and its record says so.
    """

    assignments: tuple[Assignment, ...]
    notes: tuple[str, ...]
    execution: Execution
    datasets: DatasetCache
    problems: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def candidates(self) -> list[Candidate]:
        """Who is judged, controls last."""
        return [candidate for candidate, _ in self.assignments]

    def plan(self, begin: Begin = untold) -> list[Estimate]:
        """Time and memory of what is left to run on this machine, estimated from a few images through each backbone."""
        execution, planned = self.execution, []
        bench = Bench(execution.runtime, execution.cache, Path(), execution.workers)
        for i, (candidate, jobs) in enumerate(self.assignments):
            begin(f"forecasting {candidate.name}")
            numbers = {id(job): number for number, job in enumerate(jobs)}
            left = pending(jobs, candidate, self.datasets, self._output)
            estimates = forecast(left, candidate, self.datasets, bench)
            self.problems.update({(i, numbers[id(each.job)]): each.problem for each in estimates if each.problem})
            planned += estimates
        return planned

    @property
    def _output(self) -> Output | None:
        return Output(self.execution.out, self.execution.again) if self.execution.out else None

    def run(self, report: Report | None = None) -> Iterator[Record]:
        """One record for each candidate and job, as they are finished; `report` is told of progress inside a job."""
        execution, output = self.execution, self._output
        with ExitStack() as stack:
            scratch = (
                execution.out / records.UNFINISHED
                if execution.out
                else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="transferbench-")))
            )
            problems = execution.runtime.gather_objects(self.problems)[0]
            stack.enter_context(remembering(execution.image_memory))
            for i, (candidate, jobs) in enumerate(self.assignments):
                its_own = {number: text for (of, number), text in problems.items() if of == i}
                with cache_of(candidate, execution.cache, execution.runtime) as cache:
                    bench = Bench(execution.runtime, cache, scratch, execution.workers, report)
                    yield from run(jobs, candidate, bench, self.datasets, output, its_own)


def evaluate(
    model_or_path: Model | Sequence[Model],
    suite: Suite | str | Path | None = None,
    data: Data | Sequence[Data] = (),
    *,
    name: str | None = None,
    task: str | None = None,
    features: FeatureSpec | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    seeds: Sequence[int] = (0,),
    limit: int | None = None,
    split: str | None = None,
    image_range: Sequence[int | float] | None = None,
    control: bool = True,
    preprocess: Preprocess | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
) -> list[Record]:
    """Run a suite on checkpoints or live modules.

    Args:
        model_or_path: a checkpoint file, a library's name for one (`timm:NAME`), `NAME=file`, a module from images
            `b 3 h w` to features `b d`, what `load` returned, or several.
        suite: a suite, its name or its file; None takes the data set's own.
        data: names or paths of data sets, or what `data_of` returned; none takes those that the suite names, else
            embedded ones.
        name: what tables call the model, where there is one.
        task: run only this task's jobs.
        features: settings of features (`layer`, `pooling`, ...) for all jobs that read some of a frozen backbone.
        out: where records and artifacts are kept and finished work is found again; None keeps nothing.
        seeds: each job runs once with each; one that no seed changes runs once.
        limit: keep only so many images of each split.
        split: judge on this split, `val` or `test`; None takes each data set's own.
        image_range: the values that are black and white in images of more than 8 bits a channel, such as (0, 65535).
        control: add random-initialized networks of each architecture, one for each seed.
        preprocess: what live modules expect; None is the data set's own size and ImageNet's statistics.
        overrides: `JOB.KEY=VALUE`, as `--set` on the command line.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: for a setting, a file or a data set that does not fit, before anything runs.
    """
    request = EvaluationRequest(
        models=[model_or_path] if isinstance(model_or_path, Model) else model_or_path,
        data=list(data) if isinstance(data, list | tuple) else [cast(Data, data)],
        name=name,
        task=task,
        features=features,
        suite=suite,
        overrides=overrides,
        seeds=seeds,
        limit=limit,
        split=split,
        image_range=image_range,
        control=control,
        preprocess=preprocess,
    )
    work = prepare(request, Execution(start(device), Path(out) if out else None))
    for each in work.candidates:
        if not each.is_repeatable:
            warnings.warn(f"{each.name}: {each.report.assumed[0]}.", stacklevel=2)
    return list(work.run())


def prepare(request: EvaluationRequest, execution: Execution, begin: Begin = untold) -> Evaluation:
    """Check everything that can be checked before the first second is spent; `begin` is told of what may take long.

    Raises:
        UserError: for settings, files, or when none of the data sets is here.
    """
    _require_room(execution)
    stated = suites.load(request.suite) if isinstance(request.suite, str | Path) else request.suite
    named, live = handed_over(request.data or (stated.data if stated else ()) or _examples(stated, request.task))
    request = replace(request, suite=stated, data=named)
    datasets = DatasetCache(execution.data, request.split, request.image_range, live)
    begin(f"opening {', '.join(request.names)}")
    jobs = suites.plan(_suites(request, datasets), request.overrides, request.seeds, request.limit)
    datasets.require_some(request.names)
    jobs = ordered(suited(jobs, datasets), datasets)
    loaded, notes = distinct([_candidate(model, request, datasets, begin) for model in _each_once(request)])
    begin("planning the jobs")
    loaded = [_agreed(candidate, execution.runtime) for candidate in loaded]
    beside, more = controls(loaded, jobs, datasets) if request.control else ([], [])
    notes += [*more, *datasets.notes()]
    notes += [f"{each.name}: {each.report.assumed[0]}." for each in loaded if not each.is_repeatable]
    if len(request.seeds) > 1 and (once_only := unseeded(jobs, datasets)):
        notes.append(f"Run once, since no seed changes it: {', '.join(once_only)}.")
    assignments = (*assigned(loaded, jobs, datasets), *beside)
    by_candidate = [problems_of(each.jobs, datasets) for each in assignments]
    problems = {(i, number): text for i, each in enumerate(by_candidate) for number, text in each.items()}
    return Evaluation(assignments, tuple(notes), execution, datasets, problems)


def _require_room(execution: Execution) -> None:
    """Refuse folders that nothing could be kept in; a cache that can only be read may hold all there is to read."""
    if execution.out:
        for name in ("", records.RECORDS, records.ARTIFACTS, records.UNFINISHED):
            state.require_writable(execution.out / name)
    if not execution.cache.is_dir():
        state.require_writable(execution.cache, "--cache")


def _agreed(candidate: Candidate, runtime: Runtime) -> Candidate:
    """The candidate as the first process knows it: a live module's digest is computed by each."""
    mark, is_repeatable = runtime.gather_objects((candidate.digest, candidate.is_repeatable))[0]
    return replace(candidate, digest=mark, is_repeatable=is_repeatable)


def _examples(stated: Suite | None, task: str | None) -> list[str]:
    """An embedded data set for each kind that the tasks take."""
    if task is None and stated is None:
        return [DATA]
    entries = [entry for entry in stated.jobs if not entry.embedded] if stated else []
    names = [task.replace("-", "_")] if task else [entry.task for entry in entries]
    return list(dict.fromkeys(data for name in names for data in examples(TASKS.load(name)))) or [DATA]


def _suites(request: EvaluationRequest, datasets: DatasetCache) -> dict[str, Suite]:
    """The suite of each data set."""
    match request.suite:
        case None:
            chosen = {data: suites.suite_for(data, partial(datasets.metric, data)) for data in request.names}
        case Suite() as stated:
            chosen = dict.fromkeys(request.names, stated)
        case name:
            chosen = dict.fromkeys(request.names, suites.load(name))
    if request.task is not None:
        chosen = {data: each.only(request.task) for data, each in chosen.items()}
    left = suites.chosen(chosen, request.only, request.skip, is_asked_for=request.task is not None)
    return suites.reading(left, request.features)


def _each_once(request: EvaluationRequest) -> list[Model]:
    """The models, each once."""
    own = {id(each) if isinstance(each, nn.Module | Candidate) else each: each for each in request.models}
    models = list(own.values())
    if request.name is not None and len(models) != 1:
        raise UserError(f"name={request.name!r} names one model; found {len(models)}. Name each file: NAME=FILE.")
    if request.name is not None and not request.name.strip():
        raise UserError("name is empty. Expected what tables are to call the model.")
    return models


def _candidate(
    model: Model, request: EvaluationRequest, datasets: DatasetCache, begin: Begin
) -> tuple[Candidate, bool]:
    """A model that is read, and whether the caller named its row."""
    stopping.check()
    own = request.name
    if isinstance(model, Candidate):
        return replace(model, name=own or model.name), own is not None
    if isinstance(model, nn.Module):
        return wrap(model, own or type(model).__name__, request.preprocess or _native(request.names, datasets)), False
    begin(f"reading {model}")
    name, equals, path = str(model).partition("=")
    if equals and not Path(model).exists():
        return examine(path, own or name, request.encoder, request.stated), True
    return examine(model, own, request.encoder, request.stated), own is not None


def _native(data: Sequence[str], datasets: DatasetCache) -> Preprocess:
    """The data sets' own image size, whole, with ImageNet's statistics."""
    size = datasets.common_side(data)
    if size is None:
        raise UserError(
            f"The images of {', '.join(data)} have no common size, and what a live module expects is not known. State "
            "it: preprocess=Preprocess(size=256, crop=224)."
        )
    return Preprocess(size=None, crop=size)


__getattr__ = renamed.names_of(__name__)
