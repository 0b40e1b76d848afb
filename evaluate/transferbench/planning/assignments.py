"""What is run on whom: every computation once, and beside each candidate random networks, one for each seed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from transferbench import settings
from transferbench.backbones import LIVE, whitened
from transferbench.checkpoints import Candidate, Card
from transferbench.checkpoints.load import random_control, unbuilt
from transferbench.data import Carries
from transferbench.run.dataset_cache import DatasetCache
from transferbench.suite import Job
from transferbench.tasks import TASKS, Dataset, depends_on_seed, takes


class Assignment(NamedTuple):
    """A candidate and the jobs that run on it."""

    candidate: Candidate
    jobs: tuple[Job, ...]


def assigned(candidates: Sequence[Candidate], jobs: Sequence[Job], datasets: DatasetCache) -> list[Assignment]:
    """Each candidate with every job."""
    todo = tuple(once(jobs, datasets))
    return [Assignment(candidate, todo) for candidate in candidates]


def controls(
    candidates: Sequence[Candidate], jobs: Sequence[Job], datasets: DatasetCache
) -> tuple[list[Assignment], list[str]]:
    """Random networks with the architecture and preprocessing of the candidates, and for whom there are none.

    A candidate that was trained with seed s (0 where nobody said) is judged under seed t beside the network drawn by
    seed s + t, which is measured under seed t. None of them is built yet.
    """
    wanted: dict[tuple[str, int], tuple[Card, list[int]]] = {}
    notes: list[str] = []
    for candidate in candidates:
        card = candidate.card
        if card.architecture.family == LIVE:
            notes.append(f"{candidate.name}: no random-init row, since how to build the network again is not known.")
            continue
        if whitened.whitens(card.architecture):
            notes.append(
                f"{candidate.name}: features are whitened, those of its random-init row are not, since whitening is "
                "learned. With --as whitening=false neither are."
            )
        for seed in dict.fromkeys(job.seed for job in jobs):
            drawn_by = (card.origin.seed or 0) + seed
            wanted.setdefault((_network(card), drawn_by), (card, []))[1].append(seed)
    assignments = []
    for (_, drawn_by), (card, seeds) in wanted.items():
        control = unbuilt(random_control(card.architecture, card.preprocess, drawn_by), drawn_by)
        own = once([job for job in jobs if job.seed in seeds], datasets)
        assignments.append(Assignment(control, tuple(own)))
    return assignments, notes


def suited(jobs: Sequence[Job], datasets: DatasetCache) -> list[Job]:
    """The jobs without those on data that their task is not for, where another data set suits them.

    A job that none suits is kept, and its record will say why.
    """
    kinds: dict[str, Carries] = {
        job.data: dataset.train.info.carries for job in jobs if (dataset := _dataset(job, datasets))
    }
    fits = [job.data not in kinds or takes(TASKS.load(job.task), kinds[job.data]) for job in jobs]
    placed = {job.id for job, does_fit in zip(jobs, fits, strict=True) if does_fit and job.data in kinds}
    return [job for job, does_fit in zip(jobs, fits, strict=True) if does_fit or job.id not in placed]


def once(jobs: Iterable[Job], datasets: DatasetCache) -> list[Job]:
    """The jobs without those that compute what an earlier one does; what no seed changes runs with seed 0.

    A job whose data does not open is kept with its first seed, and its record will say so.
    """
    kept: dict[tuple[object, ...], Job] = {}
    for job in jobs:
        what = (job.task, settings.canonical_json(job.config), job.limit)
        dataset = _dataset(job, datasets)
        if dataset is None:
            kept.setdefault((*what, job.data), job)
            continue
        seed = job.seed if _is_seeded(job, dataset) else 0
        data = (dataset.train.info.name, dataset.train.fingerprint, dataset.test.fingerprint)
        kept.setdefault((*what, *data, seed), replace(job, seed=seed))
    return list(kept.values())


def unseeded(jobs: Iterable[Job], datasets: DatasetCache) -> list[str]:
    """Data set and name of each job that no seed changes."""
    here = ((job, _dataset(job, datasets)) for job in jobs)
    names = [f"{job.data} {job.id}" for job, dataset in here if dataset and not _is_seeded(job, dataset)]
    return list(dict.fromkeys(names))


def _dataset(job: Job, datasets: DatasetCache) -> Dataset | None:
    try:
        return datasets.take(job.data, job.limit)
    except Exception:
        return None  # as it fails again when the job begins, and its record tells why


def _is_seeded(job: Job, dataset: Dataset) -> bool:
    """Whether the job has to run with every seed."""
    try:
        return depends_on_seed(TASKS.load(job.task), job.config, dataset) is not False
    except Exception:
        return True  # the job asks again when it runs, and its record tells what went wrong


def distinct(loaded: Sequence[tuple[Candidate, bool]]) -> tuple[list[Candidate], list[str]]:
    """The candidates, given with whether the caller named them, each once, and what one should know of the rest.

    A file that is given again is the same row, unless it is given another name.
    """
    kept: list[Candidate] = []
    by_name: dict[tuple[str, ...], Candidate] = {}
    by_file: dict[tuple[str, ...], Candidate] = {}
    notes: list[str] = []
    for candidate, is_named in loaded:
        if candidate.path is None:
            kept.append(candidate)
            continue
        weights = (candidate.digest, _network(candidate.card))
        name, file = (*weights, candidate.name), (*weights, str(candidate.path.resolve()))
        first = by_name.get(name) or (None if is_named else by_file.get(file))
        if first is None:
            twin = next((each for key, each in by_name.items() if key[:2] == weights), None)
            notes += [f"{candidate.name}: the same weights as {twin.name}."] if twin else []
            kept.append(candidate)
        elif first.name != candidate.name:
            notes.append(f"{candidate.name}: the same file as {first.name}, which stands for both.")
        by_name.setdefault(name, first or candidate)
        by_file.setdefault(file, first or candidate)
    return kept, notes


def _network(card: Card) -> str:
    return f"{card.architecture.model_dump_json()} {card.preprocess.model_dump_json()}"
