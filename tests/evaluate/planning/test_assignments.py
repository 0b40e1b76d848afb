"""Every computation is planned once, and each seed has a random network of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from transferbench.backbones import Architecture, complete
from transferbench.checkpoints import Candidate, Origin
from transferbench.checkpoints.load import random_control
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.planning.assignments import controls, distinct, once, suited, unseeded
from transferbench.run import DatasetCache
from transferbench.suite import Job
from transferbench.tasks import TASKS, Dataset


@pytest.fixture
def datasets(tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch) -> DatasetCache:
    found, dataset = DatasetCache(Path()), Dataset(tiny_images(24), tiny_images(8, split="test"))

    def take(data: str, limit: int | None = None) -> Dataset:
        if data == "absent":
            raise UserError("There is none.")
        return dataset

    monkeypatch.setattr(found, "take", take)
    return found


def jobs(task: str, seeds: tuple[int, ...] = (0, 1, 2), name: str = "", data: str = "tiny", **settings: Any):
    config = TASKS.load(task).Config(**settings)
    return [Job(name or task, task, data, config, seed) for seed in seeds]


def left(given: list[Job], datasets: DatasetCache) -> list[tuple[str, int]]:
    return [(job.id, job.seed) for job in once(given, datasets)]


def test_what_no_seed_changes_runs_once_and_with_seed_0(datasets: DatasetCache):
    given = jobs("knn") + jobs("fewshot") + jobs("knn", name="few", per_class=1)
    drawn = [(name, seed) for name in ("fewshot", "few") for seed in (0, 1, 2)]
    assert left(given, datasets) == [("knn", 0), *drawn]
    assert left(jobs("knn", (4, 7)), datasets) == [("knn", 0)]
    assert unseeded(given, datasets) == ["tiny knn"]


def test_the_same_job_under_two_names_and_data_under_two_paths_run_once(datasets: DatasetCache):
    given = [*jobs("fewshot"), *jobs("fewshot", name="again"), *jobs("fewshot", data="./tiny")]
    assert left(given, datasets) == [("fewshot", 0), ("fewshot", 1), ("fewshot", 2)]
    other = jobs("fewshot", shots=2, name="again")
    assert len(left([*given, *other], datasets)) == 6


def test_of_data_of_several_kinds_each_task_gets_its_own(datasets: DatasetCache, monkeypatch: pytest.MonkeyPatch):
    usual = datasets.take

    def take(data: str, limit: int | None = None) -> Dataset:
        found = usual(data, limit)
        carried = replace(found.train.info, carries="boxes")
        return Dataset(replace(found.train, info=carried), found.test) if data == "boxed" else found

    monkeypatch.setattr(datasets, "take", take)
    given = [
        *jobs("knn", (0,)),
        *jobs("knn", (0,), data="boxed"),
        *jobs("detect", (0,)),
        *jobs("detect", (0,), data="boxed"),
    ]
    assert [(job.id, job.data) for job in suited(given, datasets)] == [("knn", "tiny"), ("detect", "boxed")]
    alone = [*jobs("knn", (0,), data="boxed"), *jobs("knn", (0,), data="absent")]
    assert suited(alone, datasets) == alone, "its record says why it cannot be run"


def test_a_job_without_its_data_is_kept_once_to_be_recorded(datasets: DatasetCache):
    assert left(jobs("fewshot", data="absent"), datasets) == [("fewshot", 0)]
    assert unseeded(jobs("knn", data="absent"), datasets) == []


@pytest.mark.parametrize("answer", [None, RuntimeError("broken")], ids=["silent", "broken"])
def test_a_task_that_does_not_say_runs_with_every_seed(
    answer: Exception | None, datasets: DatasetCache, monkeypatch: pytest.MonkeyPatch
):
    def broken(config: object, dataset: object) -> bool:
        raise answer or AssertionError

    plugin = ModuleType("elsewhere")
    vars(plugin).update({"depends_on_seed": broken} if answer else {})
    monkeypatch.setattr(TASKS, "load", lambda name: plugin)
    config = __import__("transferbench.tasks.knn", fromlist=["Config"]).Config()
    assert left([Job("x", "elsewhere", "tiny", config, seed) for seed in (0, 1)], datasets) == [("x", 0), ("x", 1)]


def seen(candidate: Candidate, seeds: tuple[int, ...], datasets: DatasetCache) -> list[tuple[int | None, list[int]]]:
    found, notes = controls([candidate], jobs("knn", seeds) + jobs("fewshot", seeds), datasets)
    assert notes == []
    assert len({control.digest for control, _ in found}) == len(seeds)
    return [(control.card.origin.seed, [job.seed for job in todo]) for control, todo in found]


def test_each_seed_has_a_random_network_and_seed_0_the_one_it_had(tiny_candidate: Candidate, datasets: DatasetCache):
    assert seen(tiny_candidate, (0, 1, 2), datasets) == [(0, [0, 0]), (1, [0, 1]), (2, [0, 2])]
    trained = replace(
        tiny_candidate, card=tiny_candidate.card.model_copy(update={"origin": Origin(method="intl", seed=5)})
    )
    assert seen(trained, (0,), datasets) == [(5, [0, 0])]
    assert seen(trained, (0, 1), datasets) == [(5, [0, 0]), (6, [0, 1])]
    (first, _), *_ = controls([tiny_candidate], jobs("knn"), datasets)[0]
    before = random_control(tiny_candidate.card.architecture, tiny_candidate.card.preprocess, 0)
    assert (first.digest, first.card) == (before.digest, before.card)


def test_it_is_said_that_a_random_network_whitens_nothing(tiny_candidate: Candidate, datasets: DatasetCache):
    network = tiny_candidate.card.architecture.model_dump(mode="json")
    for whitening in (True, False):
        arguments = {"network": network, "whitening": whitening}
        card = tiny_candidate.card.model_copy(
            update={"architecture": complete(Architecture(family="whitened", arguments=arguments))}
        )
        _, notes = controls([replace(tiny_candidate, card=card)], jobs("knn"), datasets)
        assert [note for note in notes if "random-init row are not" in note] == notes
        assert len(notes) == whitening


def test_two_checkpoints_share_a_random_network_where_their_seeds_meet(
    tiny_candidate: Candidate, datasets: DatasetCache
):
    both = [
        replace(tiny_candidate, card=tiny_candidate.card.model_copy(update={"origin": Origin(seed=seed)}))
        for seed in (0, 1)
    ]
    found, _ = controls(both, jobs("knn", (0, 1)) + jobs("fewshot", (0, 1)), datasets)
    assert [(control.card.origin.seed, [job.seed for job in todo]) for control, todo in found] == [
        (0, [0, 0]),
        (1, [0, 0, 1]),
        (2, [0, 1]),
    ]


def test_a_file_given_again_is_one_candidate_unless_it_is_given_another_name(tiny_candidate: Candidate, tmp_path: Path):
    path, link = tmp_path / "a.pth", tmp_path / "link.pth"
    path.touch()
    link.symlink_to(path)
    a = replace(tiny_candidate, name="a", path=path)
    linked, named = replace(a, name="link", path=link), replace(a, name="X")
    copied = replace(a, name="copy", path=tmp_path / "copy.pth")

    def names(*given: tuple[Candidate, bool]) -> list[str]:
        return [each.name for each in distinct(given)[0]]

    assert names((a, False), (replace(a), False), (linked, False)) == ["a"]
    assert names((named, True), (a, False), (named, True)) == ["X"]
    assert names((a, False), (named, True), (copied, False)) == ["a", "X", "copy"]
    assert distinct([(a, False), (copied, False)])[1] == ["copy: the same weights as a."]
    other = replace(a, digest="0" * 64, path=tmp_path / "b" / "a.pth")
    assert names((a, False), (other, False)) == ["a", "a"]
