"""Every job ends in a whole record, finished work is not repeated, and weights stay what they are."""

import dataclasses
import hashlib
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from transferbench import locks, records, stopping
from transferbench.checkpoints import Candidate, digest
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.records import Record, Score
from transferbench.run import DatasetCache, Hindrance, Output, run
from transferbench.runtime import Runtime
from transferbench.settings import Settings
from transferbench.suite import Job
from transferbench.tables import leaderboard
from transferbench.tasks import Bench, Dataset, Outcome, accuracy


class Config(Settings):
    value: float = 50.0


@dataclass
class StandIn:
    """A task whose behavior a test decides; it counts its calls."""

    act: Callable[[Candidate, Bench], None] = lambda candidate, bench: None
    frozen: bool = True
    seen: list[Dataset] = field(default_factory=list)

    def run(self, candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
        self.seen.append(dataset)
        self.act(candidate, bench)
        kept = bench.keep("note.txt", f"seed {seed}")
        return Outcome((Score(metric="top1", value=config.value, n=len(dataset.test)),), {"note": kept})


@dataclass
class Stage:
    """A tiny candidate and data set, and a place to work."""

    candidate: Candidate
    dataset: Dataset
    bench: Bench
    output: Output
    monkeypatch: pytest.MonkeyPatch

    def task(self, name: str, standin: StandIn) -> StandIn:
        module = ModuleType(f"standins.{name}")
        vars(module).update(VERSION="1", FROZEN=standin.frozen, PRIMARY="top1", Config=Config)
        vars(module).update(label=lambda config: name, run=standin.run)
        self.monkeypatch.setitem(sys.modules, f"standins.{name}", module)
        return standin

    def jobs(self, *names: str, data: str = "tiny", **changes: Any) -> list[Job]:
        return [Job(name, f"standins.{name}", data, Config(), **({"seed": 0} | changes)) for name in names]

    def run(self, jobs: list[Job], candidate: Candidate | None = None, again: bool = False) -> Iterator[Record]:
        output = Output(self.output.folder, again)
        return run(jobs, candidate or self.candidate, self.bench, DatasetCache(Path()), output)

    def kept(self) -> list[Record]:
        return [each for _, each in records.read_all(self.output.folder) if isinstance(each, Record)]


@pytest.fixture
def stage(
    tiny_candidate: Candidate, tiny_images: Callable[..., LabeledImages], tmp_path: Path, monkeypatch: Any
) -> Stage:
    splits = {split: tiny_images(24, split=split) for split in ("train", "test")}

    def opened(data: str, split: str, root: Path) -> LabeledImages:
        if data != "tiny":
            raise UserError(f"There is no {data} here. Download it.")
        return splits[split]

    monkeypatch.setattr("transferbench.run.dataset_cache.open_split", opened)
    bench = Bench(Runtime(torch.device("cpu")), tmp_path / "cache", tmp_path / "unfinished")
    dataset = Dataset(splits["train"], splits["test"])
    return Stage(tiny_candidate, dataset, bench, Output(tmp_path / "out"), monkeypatch)


def explode(candidate: Candidate, bench: Bench) -> None:
    raise ZeroDivisionError("boom")


def bend(candidate: Candidate, bench: Bench) -> None:
    with torch.no_grad():
        next(candidate.backbone.parameters()).add_(1)


def test_a_record_says_what_was_run(stage: Stage):
    stage.task("fine", StandIn())
    (record,) = stage.run(stage.jobs("fine", seed=3))
    assert (record.status, record.task, record.label, record.seed) == ("ok", "standins.fine", "fine", 3)
    assert (record.digest, record.dataset, record.chance) == (stage.candidate.digest, "tiny", 25.0)
    assert record.data_fingerprint == {"train": stage.dataset.train.fingerprint, "test": stage.dataset.test.fingerprint}
    assert record.frozen is True
    assert record.seconds > 0
    assert record.peak_memory_mb > 0
    assert {"commit", "packages", "machine", "device", "processes"} <= set(record.environment)
    assert stage.kept() == [record]


def test_artifacts_are_kept_beside_the_records_with_their_sha256(stage: Stage):
    stage.task("fine", StandIn())
    (record,) = stage.run(stage.jobs("fine", seed=4))
    note = stage.output.folder / record.artifacts["note"].path
    assert note.read_text() == "seed 4"
    assert note.relative_to(stage.output.folder).parts[:2] == ("artifacts", record.digest[:12])
    assert record.artifacts["note"].sha256 == hashlib.sha256(b"seed 4").hexdigest()
    assert list(stage.bench.scratch.iterdir()) == []


def test_a_failing_task_is_recorded_with_its_traceback_and_the_next_goes_on(stage: Stage):
    stage.task("broken", StandIn(explode))
    stage.task("fine", StandIn())
    broken, fine = stage.run(stage.jobs("broken", "fine"))
    assert (broken.status, fine.status) == ("failed", "ok")
    assert "Traceback" in (broken.error or "")
    assert "ZeroDivisionError: boom" in (broken.error or "")
    assert broken.is_bug


def test_what_a_person_can_mend_in_a_task_is_recorded_bare(stage: Stage):
    def refuse(candidate: Candidate, bench: Bench) -> None:
        raise UserError("Cannot decode image 'cat.png'.")

    stage.task("picky", StandIn(refuse))
    (record,) = stage.run(stage.jobs("picky"))
    assert (record.status, record.error, record.is_bug) == ("failed", "Cannot decode image 'cat.png'.", False)


def raising(*arguments: object) -> Any:
    raise ZeroDivisionError("boom")


@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        ({"unfit": raising}, "boom"),
        ({"label": raising}, "boom"),
        ({"run": lambda *arguments: None}, "gave NoneType; a task gives an Outcome"),
        ({"run": lambda *arguments: Outcome((), {"x": Path("nowhere.npz")})}, "nowhere.npz"),
        (
            {"run": lambda *arguments: Outcome((Score.model_construct(metric="top1", value=float("nan")),))},
            "found top1 = nan, which is no number",
        ),
    ],
    ids=["fit", "label", "no outcome", "lost artifact", "no number"],
)
def test_whatever_a_task_raises_is_its_record_and_the_next_goes_on(stage: Stage, offered: dict, reason: str):
    stage.task("broken", StandIn())
    vars(sys.modules["standins.broken"]).update(offered)
    stage.task("fine", StandIn())
    broken, fine = stage.run(stage.jobs("broken", "fine"))
    assert (broken.status, broken.is_bug, fine.status) == ("failed", True, "ok")
    assert reason in (broken.error or "")
    assert stage.kept() == [broken, fine]


@pytest.mark.parametrize("error", ["Mend me.", "Traceback (most recent call last):\nKeyError: 1"])
def test_what_planning_raised_is_the_record_of_a_job_that_is_not_finished(stage: Stage, error: str):
    fine = stage.task("fine", StandIn())
    jobs = stage.jobs("fine", "fine")
    shelf = DatasetCache(Path())
    (first, second) = run(jobs, stage.candidate, stage.bench, shelf, stage.output, {0: error})
    assert (first.status, first.error, first.is_bug, second.status) == ("failed", error, "KeyError" in error, "ok")
    assert len(fine.seen) == 1
    assert [each.status for each in run(jobs, stage.candidate, stage.bench, shelf, stage.output, {0: error})] == [
        "ok"
    ] * 2


def test_what_one_process_cannot_open_is_tried_by_none(stage: Stage):
    class First(Runtime):
        def gather_objects(self, value: Any) -> list[Any]:
            return [value, Hindrance("failed", "no disk") if value is None else value]

        def barrier(self) -> None:
            pass

    fine = stage.task("fine", StandIn())
    stage.bench = Bench(First(torch.device("cpu"), rank=0, world_size=2), stage.bench.cache, stage.bench.scratch)
    (record,) = stage.run(stage.jobs("fine"))
    assert (record.status, record.error, fine.seen) == ("failed", "no disk", [])


def test_a_finished_job_is_not_run_again_unless_asked(stage: Stage):
    fine = stage.task("fine", StandIn())
    (first,) = stage.run(stage.jobs("fine"))
    (second,) = stage.run(stage.jobs("fine"))
    assert len(fine.seen) == 1
    assert second == first
    list(stage.run(stage.jobs("fine"), again=True))
    assert len(fine.seen) == 2
    list(stage.run(stage.jobs("fine", seed=1)))
    assert len(fine.seen) == 3


def test_a_failed_job_is_tried_again_and_its_record_replaced(stage: Stage):
    task = stage.task("moody", StandIn(explode))
    list(stage.run(stage.jobs("moody")))
    task.act = lambda candidate, bench: None
    (record,) = stage.run(stage.jobs("moody"))
    assert record.status == "ok"
    assert stage.kept() == [record]


def test_a_finished_job_of_the_same_weights_takes_the_new_name(stage: Stage):
    fine = stage.task("fine", StandIn())
    list(stage.run(stage.jobs("fine")))
    other = stage.candidate.__class__(**(vars(stage.candidate) | {"name": "renamed"}))
    (record,) = stage.run(stage.jobs("fine"), other)
    assert len(fine.seen) == 1
    assert record.candidate == "renamed"
    assert {each.candidate for each in stage.kept()} == {"tiny", "renamed"}


def test_absent_data_is_recorded_as_skipped_with_the_cure_until_it_is_there(stage: Stage):
    fine = stage.task("fine", StandIn())
    skipped, done = stage.run([*stage.jobs("fine", data="imagenet"), *stage.jobs("fine")])
    assert (skipped.status, skipped.error) == ("skipped", "There is no imagenet here. Download it.")
    assert (skipped.chance, skipped.dataset, done.status) == (None, "imagenet", "ok")
    assert len(fine.seen) == 1
    splits = {"train": stage.dataset.train, "test": stage.dataset.test}
    info = splits["train"].info.__class__(**(vars(splits["train"].info) | {"name": "imagenet"}))
    found = {name: images.__class__(**(vars(images) | {"info": info})) for name, images in splits.items()}
    stage.monkeypatch.setattr("transferbench.run.dataset_cache.open_split", lambda data, split, root: found[split])
    list(stage.run(stage.jobs("fine", data="imagenet")))
    assert {(each.dataset, each.status) for each in stage.kept()} == {("tiny", "ok"), ("imagenet", "ok")}


def test_a_frozen_task_that_changes_the_weights_fails_and_the_weights_are_put_back(stage: Stage):
    stage.task("bending", StandIn(bend))
    (record,) = stage.run(stage.jobs("bending"))
    assert (record.status, record.frozen) == ("failed", None)
    assert "promises a frozen backbone" in (record.error or "")
    assert digest(stage.candidate.backbone.state_dict()) == stage.candidate.digest


@pytest.mark.parametrize("change", ["counter", "sign of zero", "running mean"])
def test_frozen_is_proved_to_the_bit_for_every_parameter_and_buffer(change, stage: Stage):
    weights = stage.candidate.backbone.state_dict()
    weights["conv1.weight"].view(-1)[0] = 0.0
    before = {name: tensor.clone() for name, tensor in weights.items()}

    def touch(candidate: Candidate, bench: Bench) -> None:
        state = candidate.backbone.state_dict()
        if change == "counter":
            state["bn1.num_batches_tracked"].add_(1)
        elif change == "sign of zero":
            state["conv1.weight"].view(-1)[0] = -0.0
        else:
            state["bn1.running_mean"].add_(1e-12)

    stage.task("touching", StandIn(touch))
    (record,) = stage.run(stage.jobs("touching"))
    name = {"counter": "bn1.num_batches_tracked", "sign of zero": "conv1.weight", "running mean": "bn1.running_mean"}
    assert record.status == "failed"
    assert f"promises a frozen backbone, but changed {name[change]}" in (record.error or "")
    after = stage.candidate.backbone.state_dict()
    assert all(before[key].numpy().tobytes() == tensor.numpy().tobytes() for key, tensor in after.items())


def test_a_tuning_task_may_change_the_weights_and_the_next_job_sees_the_old_ones(stage: Stage):
    stage.task("tuning", StandIn(bend, frozen=False))
    (record,) = stage.run(stage.jobs("tuning"))
    assert (record.status, record.frozen) == ("ok", None)
    assert digest(stage.candidate.backbone.state_dict()) == stage.candidate.digest


def test_a_limit_cuts_both_splits_and_is_another_experiment(stage: Stage):
    fine = stage.task("fine", StandIn())
    whole, cut = stage.run([*stage.jobs("fine"), *stage.jobs("fine", limit=10)])
    assert [(len(seen.train), len(seen.test)) for seen in fine.seen] == [(24, 24), (10, 10)]
    assert (cut.limit, whole.limit) == (10, None)
    assert cut.identity != whole.identity


def test_ctrl_c_leaves_the_finished_records_whole_and_the_unfinished_work(stage: Stage):
    def interrupt(candidate: Candidate, bench: Bench) -> None:
        (bench.scratch / "state").write_text("half way")
        raise KeyboardInterrupt

    stage.task("fine", StandIn())
    stage.task("long", StandIn(interrupt))
    with pytest.raises(KeyboardInterrupt):
        list(stage.run(stage.jobs("fine", "long")))
    assert [each.label for each in stage.kept()] == ["fine"]
    assert [path.read_text() for path in stage.bench.scratch.glob("*/state")] == ["half way"]


def test_an_error_after_a_stop_is_the_stop_and_no_failure(stage: Stage):
    def torn(candidate: Candidate, bench: Bench) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("connection closed by peer")

    stage.task("torn", StandIn(torn))
    with pytest.raises(stopping.Interrupted), stopping.listening():
        list(stage.run(stage.jobs("torn")))
    assert stage.kept() == []


def test_a_finished_record_is_not_replaced_by_a_failed_one(stage: Stage):
    stage.task("fine", StandIn())
    (finished,) = stage.run(stage.jobs("fine"))
    stage.task("fine", StandIn(explode))
    (failed,) = stage.run(stage.jobs("fine"), again=True)
    assert failed.status == "failed"
    assert stage.kept() == [finished]
    assert [path.suffix for path in stage.output.records.iterdir()] == [".json"]


def test_where_another_process_works_on_the_same_job_its_folder_is_left_alone(stage: Stage):
    theirs = []

    def beside(candidate: Candidate, bench: Bench) -> None:
        theirs.append(bench.scratch)

    stage.task("fine", StandIn(beside))
    list(stage.run(stage.jobs("fine")))
    hold = locks.take(theirs[0] / ".lock")
    assert hold is not None
    (theirs[0] / "state").write_text("half way")
    left = theirs[0].with_name(theirs[0].name + ".2")
    left.mkdir()
    (record,) = stage.run(stage.jobs("fine"), again=True)
    assert record.status == "ok"
    assert theirs[1] == theirs[0].with_name(theirs[0].name + ".1")
    assert list(stage.bench.scratch.iterdir()) == [theirs[0]], "what dead processes left goes with the finished job"
    assert (theirs[0] / "state").read_text() == "half way"
    hold.release()
    (record,) = stage.run(stage.jobs("fine"), again=True)
    assert theirs[2] == theirs[0]
    assert list(stage.bench.scratch.iterdir()) == []


def test_a_record_that_cannot_be_written_costs_no_unfinished_work(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    stage.task("fine", StandIn())
    with monkeypatch.context() as patch:
        patch.setattr(records, "write", explode)
        with pytest.raises(ZeroDivisionError):
            list(stage.run(stage.jobs("fine")))
    assert [path.read_text() for path in stage.bench.scratch.glob("*/note.txt")] == ["seed 0"]


def test_only_the_main_process_writes(stage: Stage):
    class Second(Runtime):
        def gather_objects(self, value: Any) -> list[Any]:
            return [value]

        def barrier(self) -> None:
            pass

    stage.task("fine", StandIn())
    (stage.bench.scratch / "x").mkdir(parents=True)
    stage.bench = Bench(Second(torch.device("cpu"), rank=1, world_size=2), stage.bench.cache, stage.bench.scratch)
    (record,) = stage.run(stage.jobs("fine"))
    assert record.status == "ok"
    assert not stage.output.folder.exists()


def classify(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Always class 0, and every second of class 1."""
    labels = dataset.test.labels
    predictions = np.where((labels == 1) & (np.arange(len(labels)) % 8 == 1), 1, 0)
    kept = bench.keep("predictions.npz", {"labels": labels, "predictions": predictions})
    return Outcome((accuracy("top1", predictions == labels),), {"predictions": kept})


def reported_in(dataset: Dataset, metric: Any) -> Dataset:
    carries = {"map11": "several labels", "miou": "label maps"}.get(metric, "one label")
    info = dataclasses.replace(dataset.test.info, metric=metric, carries=carries)
    return Dataset(*(dataclasses.replace(images, info=info) for images in (dataset.train, dataset.test)))


def open_as(stage: Stage, metric: str) -> None:
    dataset = reported_in(stage.dataset, metric)
    splits = {"train": dataset.train, "test": dataset.test}
    stage.monkeypatch.setattr("transferbench.run.dataset_cache.open_split", lambda data, split, root: splits[split])


def test_a_data_set_reported_per_class_gets_that_score_from_any_task_that_keeps_predictions(stage: Stage):
    stage.task("picky", StandIn())
    vars(sys.modules["standins.picky"])["run"] = classify
    open_as(stage, "mean_per_class")
    (record,) = stage.run(stage.jobs("picky"))
    assert (record.status, record.primary) == ("ok", "mean_per_class")
    score = record.score("mean_per_class")
    assert score is not None
    assert score.value == pytest.approx(100 * (1 + 0.5 + 0 + 0) / 4)
    assert score.bootstrap is not None
    assert score.bootstrap[0] < score.value < score.bootstrap[1]
    assert record.score("top1") is not None
    assert leaderboard([record]).columns[0].metric == "mean_per_class"


def test_a_task_is_not_asked_of_a_data_set_whose_labels_it_is_not_for(stage: Stage):
    fine = stage.task("fine", StandIn())
    open_as(stage, "map11")
    (record,) = stage.run(stage.jobs("fine"))
    assert (record.status, fine.seen) == ("skipped", [])
    assert "tiny carries several labels. Expected a task for that: linear_svm, spectrum." in (record.error or "")
    open_as(stage, "miou")
    (mapped,) = stage.run(stage.jobs("fine"))
    assert (mapped.status, fine.seen) == ("skipped", [])
    assert "tiny carries label maps. Expected a task for that: " in (mapped.error or "")
    open_as(stage, "map11")
    vars(sys.modules["standins.fine"])["LABELS"] = ("several labels",)
    (record,) = stage.run(stage.jobs("fine"))
    assert (record.status, record.chance) == ("ok", None)
