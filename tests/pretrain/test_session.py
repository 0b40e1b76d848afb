"""A run with images that have no label, or only some of which have one; a run that is told to stop."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decorssl import run_lock, runlog, session, states
from decorssl.loop import Step, Training
from decorssl.recipe import Recipe, read
from transferbench import locks, state
from transferbench.checkpoints.inspect import inspect
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime
from transferbench.runtime.signals import SIGNALS, StopSignal

Run = Callable[..., int]
PLACE = session.RunOptions("cpu", workers=0, knn_every=1, save_seconds=60.0)


def test_a_limited_run_draws_its_images_by_its_seed(
    recipe: Recipe, tiny_images: Callable[..., LabeledImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "open_split", lambda *_: tiny_images(24))
    drawn = [
        session.training_images(recipe.model_copy(update={"limit": 6, "seed": seed}), tmp_path) for seed in (3, 3, 4)
    ]
    assert [len(images) for images in drawn] == [6, 6, 6]
    assert drawn[0].names == drawn[1].names != drawn[2].names
    assert session.training_images(recipe, tmp_path).names == tiny_images(24).names


@pytest.mark.parametrize("labeled", [0, 9])
def test_only_labeled_images_vote_and_none_are_asked_where_there_are_none(
    labeled: int,
    recipe: Recipe,
    tiny_images: Callable[..., LabeledImages],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, asked, said = tiny_images(24), [], []
    some = replace(train, labels=np.where(np.arange(24) < labeled, train.labels, -1))

    def open_split(data: str, split: str, root: Path) -> LabeledImages:
        asked.append(split)
        return tiny_images(8, split="test") if split == "test" else some

    monkeypatch.setattr(session, "open_split", open_split)
    recipe = recipe.model_copy(update={"split": "train+unlabeled", "epochs": 1})
    assert not session.run(recipe, tmp_path / "run", False, PLACE, said.append)
    assert asked == ["train+unlabeled", "test"][: 2 if labeled else 1]
    assert any(line.startswith("epoch 1: k-NN") for line in said) == bool(labeled)
    assert said.count("tiny has no labels: k-NN while training is left out.") == (not labeled)
    assert (tmp_path / "run" / "backbone.safetensors").is_file()


def test_a_test_split_without_labels_is_not_watched_but_val_is(
    recipe: Recipe, tiny_images: Callable[..., LabeledImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, said = list[str](), list[str]()

    def open_split(data: str, split: str, root: Path) -> LabeledImages:
        asked.append(split)
        images = tiny_images(8, split=split)
        images = replace(images, info=replace(images.info, splits=("train", "val", "test")))
        return replace(images, labels=np.full(8, -1)) if split == "test" else images

    monkeypatch.setattr(session, "open_split", open_split)
    assert not session.run(recipe.model_copy(update={"epochs": 1}), tmp_path / "run", False, PLACE, said.append)
    assert asked == ["train", "test", "val"]
    assert "tiny: none of the 8 test images has a label, so val is judged." in said


@pytest.fixture
def run(recipe: Recipe, tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(folder, said, seconds)`: the tiny recipe, gone on with where it stopped, saved that often."""

    def open_split(data: str, split: str, root: Path) -> LabeledImages:
        return tiny_images(20, split=split)

    monkeypatch.setattr(session, "open_split", open_split)

    def run(folder: Path, said: list[str], seconds: float = 0.0) -> int:
        return session.run(recipe, folder, True, replace(PLACE, knn_every=0, save_seconds=seconds), said.append)

    return run


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGUSR1))],
)
def test_a_signal_ends_a_run_after_its_step_saved_and_it_goes_on_bit_identically(
    number: signal.Signals, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, said = runlog.RunLog.add, list[str]()

    def add_and_signal(log: runlog.RunLog, step: Step) -> None:
        add(log, step)
        if step.index == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(runlog.RunLog, "add", add_and_signal)
    assert run(tmp_path / "stopped", said, 60.0) == number
    assert f"Stopped by {number.name} and saved" in said[-1]
    assert states.paths(tmp_path / "stopped")[0].name == "state-00000002.safetensors"
    monkeypatch.setattr(runlog.RunLog, "add", add)
    assert run(tmp_path / "stopped", said) == 0
    assert "Resuming after step 2" in said
    assert run(tmp_path / "unbroken", said) == 0
    ended, unbroken = (tmp_path / name / runlog.BACKBONE for name in ("stopped", "unbroken"))
    assert ended.read_bytes() == unbroken.read_bytes()


@pytest.mark.slow
def test_a_signal_after_every_step_in_turn_changes_no_bit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path / "unbroken", []) == 0
    add, steps = runlog.RunLog.add, list[int]()

    def add_and_signal(log: runlog.RunLog, step: Step) -> None:
        add(log, step)
        steps.append(step.index)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(runlog.RunLog, "add", add_and_signal)
    while stopped := run(tmp_path / "stopped", [], 60.0):
        assert stopped == signal.SIGTERM
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 3
    ended, unbroken = (tmp_path / name / runlog.BACKBONE for name in ("stopped", "unbroken"))
    assert ended.read_bytes() == unbroken.read_bytes()


def test_a_signal_during_the_last_step_does_not_keep_a_run_from_its_end(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = runlog.RunLog.add

    def add_and_signal(log: runlog.RunLog, step: Step) -> None:
        add(log, step)
        if step.index == log.training.total_steps:
            os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(runlog.RunLog, "add", add_and_signal)
    assert run(tmp_path, []) == 0
    assert (tmp_path / runlog.BACKBONE).is_file()


def test_a_second_live_run_in_a_folder_is_refused_with_host_and_process_of_the_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, said = runlog.RunLog.add, list[str]()

    def add_and_stop(log: runlog.RunLog, step: Step) -> None:
        add(log, step)
        second = locks.take(tmp_path / run_lock.FILE)
        assert second is None, "it is this run's"
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(runlog.RunLog, "add", add_and_stop)
        assert run(tmp_path, said) == signal.SIGTERM
    assert not (tmp_path / run_lock.FILE).exists()
    other = locks.take(tmp_path / run_lock.FILE)
    assert other is not None
    other.note({"host": "gpu07", "pid": 4711, "job": "12", "since": "noon"})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"process 4711 on host gpu07, since noon\..*remove .*\.lock"):
        run(tmp_path, said)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(UserError, match="4711"):
        run(tmp_path, said)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert run(tmp_path, said) == 0, "the job was queued again, so its first start has ended"
    other.release()


def test_a_truncated_newest_state_costs_a_few_steps_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    said: list[str] = []
    for name in ("unbroken", "stopped"):
        assert run(tmp_path / name, said) == 0
    folder = tmp_path / "stopped"
    expected = (folder / runlog.BACKBONE).read_bytes()
    (folder / runlog.BACKBONE).unlink()
    newest, before = states.paths(folder)
    newest.write_bytes(newest.read_bytes()[:-1000])
    assert run(folder, said) == 0
    assert any(f"Resuming from {before.name} instead" in text for text in said)
    assert (folder / runlog.BACKBONE).read_bytes() == expected
    assert expected == (tmp_path / "unbroken" / runlog.BACKBONE).read_bytes()


def test_signals_are_taken_inside_the_block_and_as_before_after_it() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignal():
        assert not set(before) & {signal.getsignal(number) for number in SIGNALS}
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_second_ctrl_c_is_not_held_back_unless_it_is_the_echo_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with StopSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
        clock[0] += 1
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_who_is_in_a_hurry_loses_only_the_state_being_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, written = runlog.RunLog.add, threading.Event()

    def add_and_leave(log: runlog.RunLog, step: Step) -> None:
        add(log, step)
        if step.index == 3:
            log.save()
            monkeypatch.setattr(state, "save_tensors", lambda *arguments: written.wait(60))
            log.save_if_due(0.0)
            raise KeyboardInterrupt

    monkeypatch.setattr(runlog.RunLog, "add", add_and_leave)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", [])
    assert time.monotonic() - began < 30
    written.set()
    assert states.paths(tmp_path / "run")[0].name == "state-00000003.safetensors"


@pytest.mark.parametrize(
    ("overrides", "split"),
    [
        (["data=./mine"], "train"),
        (["data=stl10"], "train+unlabeled"),
        (["data=./mine", "split=test"], "test"),
        (["epochs=3"], "train+unlabeled"),
    ],
)
def test_other_data_without_the_recipes_split_are_trained_on_train_unless_a_split_is_asked_for(
    overrides: list[str], split: str, tiny_images: Callable[..., LabeledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_split(data: str, split: str, root: Path) -> LabeledImages:
        assert split == "train"
        assert f"data={data}" in overrides, "the recipe's own data have its split"
        images = tiny_images(4)
        splits = ("train", "test", "train+unlabeled") if data == "stl10" else ("train", "test")
        return replace(images, info=replace(images.info, splits=splits))

    monkeypatch.setattr(session, "open_split", open_split)
    assert session.with_split(read("cwrgp-stl10", overrides), overrides, PLACE).split == split


def test_a_split_that_is_not_there_is_told_with_those_that_are(recipe: Recipe, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "train" / name / "0.png")
    asked = recipe.model_copy(update={"data": str(tmp_path), "split": "train+unlabeled"})
    with pytest.raises(UserError, match=r"does not have \(it has: train\)\. Add --set split=train\."):
        session.training_images(asked, tmp_path)
    with pytest.raises(UserError) as caught:
        session.training_images(asked.model_copy(update={"data": str(tmp_path / "none")}), tmp_path)
    assert "--set" not in str(caught.value)


def test_a_run_says_which_images_it_leaves_out_and_what_is_lacking_to_be_judged(
    recipe: Recipe, tiny_images: Callable[..., LabeledImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_split(data: str, split: str, root: Path) -> LabeledImages:
        assert split == "train"
        return tiny_images(12, classes=1)

    monkeypatch.setattr(session, "open_split", open_split)
    named = {"name": "intl-digits", "summary": read("intl-digits").summary}
    said, short = list[str](), recipe.model_copy(update={**named, "epochs": 1, "data": "./nolab"})
    long = short.model_copy(update={"optim": recipe.optim.model_copy(update={"warmup_epochs": 2})})
    assert not session.run(long, tmp_path / "run", False, replace(PLACE, watch_every=0), said.append)
    text = "\n".join(said)
    assert "12 images of tiny (8 an epoch: the last incomplete batch is dropped), 1 epochs" in text
    assert text.startswith("tiny has no labels: k-NN while training is left out.\n")
    assert text.count("no labels") == 1
    assert "Warm-up takes 2 steps, but the run has 1" in text
    assert "INTL with the recipe intl-digits; changed: " in text
    assert inspect(tmp_path / "run" / runlog.BACKBONE).origin.recipe == "intl-digits (changed)"
    assert text.endswith("--data LABELED\nLABELED: a folder or zip with train/CLASS/* and val/CLASS/*.")


def test_data_that_can_be_judged_are_named(tiny_images: Callable[..., LabeledImages]) -> None:
    info = tiny_images(4).info
    assert session.lacking(info) == ""
    assert session.lacking(replace(info, splits=("train",))) == "test images"
    assert session.lacking(replace(info, classes=("boat",), carries="boxes")) == ""


def test_the_time_left_is_told_from_some_steps_after_the_first(
    recipe: Recipe, tiny_images: Callable[..., LabeledImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step starts processes and libraries: what it took and waited says nothing of the others."""
    clock = iter([1000.0 + 20 * step for step in range(400)])
    monkeypatch.setattr(session.time, "monotonic", lambda: next(clock))
    steps = [Step(i, 0, {"loss": torch.tensor(1.0)}, 0.1, 20.0, 20.0 if i == 1 else 5.0, ()) for i in range(1, 7)]
    training = object.__new__(Training)
    training.done, training.total_steps, training.recipe = 0, 6, recipe
    training.runtime = Runtime(torch.device("cpu"))
    monkeypatch.setattr(training, "steps", lambda: iter(steps), raising=False)
    said: list[str] = []
    assert list(session._with_progress(training, said.append)) == steps
    lines = [line.partition("loss 1.000")[2] for line in said]
    waited = "  25 % of the time waiting for images"
    assert lines[:4] == ["  step 1/6", *(f"{waited}  step {i}/6" for i in (2, 3)), f"{waited}  step 4/6  40 s left"]
    assert lines[-1].endswith("step 6/6  0 s left")
