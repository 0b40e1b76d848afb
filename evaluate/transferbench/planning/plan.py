"""What a call will take here: each job's time and memory, estimated from a few images put through the backbone.

An estimate, and meant within a factor of two: other programs, the disk's cache and heads that converge early or late
are not foreseen.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from transferbench import settings, stopping
from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.loading import Plan, batches
from transferbench.data.transforms import evaluation
from transferbench.errors import error_text, summary
from transferbench.features.extraction import BATCH, evaluating, place, width
from transferbench.features.prepared import Prepared
from transferbench.features.spec import POOLED, feature_spec, forward
from transferbench.neighbors import memory
from transferbench.optim import UPDATE
from transferbench.run.dataset_cache import DatasetCache
from transferbench.runtime.clock import fastest
from transferbench.suite import Job
from transferbench.tasks import TASKS, Bench, Dataset, Forecasting, JobCost, cost_of

LOOKED_AT = 8
"""How many images are put through the backbone."""
SIDE = 512
"""Of the matrices whose product says how fast heads and searches are."""
VOTES = 32
"""Bytes that a vote needs for each neighbor."""


@dataclass(frozen=True)
class Estimate:
    """One job of a candidate: seconds, and bytes beside what the program holds already.

    `problem` is what kept it from being estimated: a message, or the traceback of a bug; empty when nothing did.
    """

    candidate: str
    job: Job
    images: int
    seconds: float
    memory: int
    problem: str = ""


@dataclass(frozen=True)
class Speed:
    """What was measured of a candidate on a data set.

    Attributes:
        load: seconds to decode and transform an image.
        compute: seconds of the backbone for an image.
        multiply: seconds of one multiplication and addition in a large product.
        outputs: bytes of the outputs of all layers for an image.
        width: how many features there are.
    """

    load: float
    compute: float
    multiply: float
    outputs: int
    width: int


def ordered(jobs: Sequence[Job], datasets: DatasetCache) -> list[Job]:
    """Cheapest first, by images through the backbone; jobs that cost the same stay as they are.

    Those whose data does not open or whose cost is not known come first.
    """

    def passages(job: Job) -> int:
        try:
            dataset = datasets.take(job.data, job.limit)
            cost = _cost(job, dataset)
        except Exception:
            return 0
        return sum(len(_split(dataset, name)) for name in cost.splits) + cost.passes + UPDATE * cost.updates

    return sorted(jobs, key=passages)


def problems_of(jobs: Sequence[Job], datasets: DatasetCache) -> dict[int, str]:
    """What asking for the cost of jobs raised, by their numbers. Data that does not open is told when they are run."""
    problems: dict[int, str] = {}
    for number, job in enumerate(jobs):
        dataset = None
        try:
            dataset = datasets.take(job.data, job.limit)
            _cost(job, dataset)
        except Exception as error:
            problems.update({number: error_text(error)} if dataset else {})
    return problems


def forecast(jobs: Sequence[Job], candidate: Candidate, datasets: DatasetCache, bench: Bench) -> list[Estimate]:
    """An estimate of each job, whose data must be here; features that are kept or another job extracts cost nothing."""
    try:
        candidate = candidate.built() if jobs else candidate
    except Exception as error:
        return [Estimate(candidate.name, job, 0, 0.0, 0, error_text(error)) for job in jobs]
    speeds: dict[tuple[str, int | None], Speed] = {}
    widths: dict[str, int] = {}
    extracted: set[str] = set()
    estimates: list[Estimate] = []
    for job in jobs:
        stopping.check()
        try:
            dataset = datasets.take(job.data, job.limit)
            if (job.data, job.limit) not in speeds:
                speeds[job.data, job.limit] = measured(candidate, dataset.train, bench)
            need, images = _cost(job, dataset), 0
            speed = _of_reading(speeds[job.data, job.limit], need, widths, candidate, (dataset, bench))
            for name in need.splits:
                kept = place(candidate, _split(dataset, name), bench.cache, need.reading)
                images += 0 if kept.exists() or kept.name in extracted else len(_split(dataset, name))
                extracted.add(kept.name)
            estimates.append(_estimate(job, candidate, need, images, speed, (dataset, bench)))
        except Exception as error:
            estimates.append(Estimate(candidate.name, job, 0, 0.0, 0, error_text(error)))
    return estimates


def _of_reading(
    speed: Speed, need: JobCost, widths: dict[str, int], candidate: Candidate, where: tuple[Dataset, Bench]
) -> Speed:
    """The speed with as many features as the job takes of an image; `widths` keeps what was found by a look at one."""
    if need.reading.layer == POOLED:
        return speed
    key = settings.canonical_json(need.reading.identity)
    if key not in widths:
        widths[key] = width(candidate, where[0].train, where[1].runtime, need.reading)
    return replace(speed, width=widths[key])


def _estimate(
    job: Job, candidate: Candidate, need: JobCost, images: int, speed: Speed, where: tuple[Dataset, Bench]
) -> Estimate:
    dataset, bench = where
    weights = sum(tensor.nbytes for tensor in candidate.backbone.state_dict().values())
    task = TASKS.load(job.task)
    if isinstance(task, Forecasting):
        seconds, held = task.forecast(candidate, dataset, job.config, bench)
        return Estimate(candidate.name, job, need.passes + need.updates, seconds, 4 * weights + held)
    loaded = images + need.passes + need.updates
    computed = images + need.passes + UPDATE * need.updates
    load = speed.load * loaded / max(1, bench.workers)
    compute = speed.compute * computed
    backbone = max(load, compute) if bench.workers else load + compute
    if need.neighbors:
        n, m = len(dataset.train), len(dataset.test)
        held = memory(n, m, speed.width, need.neighbors) + VOTES * m * need.neighbors
    else:
        held = 2 * 4 * speed.width * (need.views + sum(len(_split(dataset, name)) for name in need.splits))
    at_once = need.batch * speed.outputs if need.updates else BATCH * speed.outputs // 4
    return Estimate(
        candidate.name,
        job,
        loaded,
        backbone / bench.runtime.world_size + speed.multiply * need.products * speed.width,
        (4 * weights if need.updates else 0) + at_once + held,
    )


def measured(candidate: Candidate, images: LabeledImages, bench: Bench) -> Speed:
    """Put one image through the backbone to warm up, then a few by the clock."""
    device, backbone = bench.runtime.device, candidate.backbone.to(bench.runtime.device)
    chosen = np.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).astype(np.int64)
    begun = time.perf_counter()
    (batch,) = batches(images, evaluation(candidate.card.preprocess), [Plan(0, chosen)])
    load = (time.perf_counter() - begun) / len(chosen)
    views = batch.views[0].to(device)
    outputs: list[int] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        outputs.append(output.nbytes if isinstance(output, Tensor) else 0)

    hooks = [part.register_forward_hook(note) for part in backbone.modules() if not list(part.children())]
    with evaluating(backbone):
        features = forward(backbone, views[:1]).shape[1]
        for hook in hooks:
            hook.remove()
        quick = Prepared(backbone, feature_spec("float32"))
        compute = fastest(lambda: quick(views), device, 2) / len(chosen)
    square = torch.ones(SIDE, SIDE, device=device)
    multiply = fastest(lambda: square @ square, device, 2) / SIDE**3
    return Speed(load, compute, multiply, sum(outputs), features)


def lines(estimates: Sequence[Estimate]) -> list[str]:
    """A plan in words: a line a job, cheapest first, and the sum."""
    known = sorted((each for each in estimates if not each.problem), key=lambda each: each.seconds)
    rows = [
        f"{_job(each)} {each.images:>11,} images  {_time(each.seconds):>8}  {each.memory / 2**20:>8,.0f} MiB"
        for each in known
    ]
    total = _time(sum((each.seconds for each in known), 0.0))
    failed = [f"{_job(each)} failed: {summary(each.problem)}" for each in estimates if each.problem]
    return [*rows, *failed, f"{len(rows)} job(s), about {total} here, within a factor of two or so."]


def _job(each: Estimate) -> str:
    return f"{each.candidate:20} {each.job.data:14} {each.job.id:12}"


def _cost(job: Job, dataset: Dataset) -> JobCost:
    return cost_of(TASKS.load(job.task), job.config, dataset)


def _split(dataset: Dataset, name: str) -> LabeledImages:
    return dataset.train if name == "train" else dataset.test


def _time(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
