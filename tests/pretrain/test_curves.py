"""Curves elsewhere are the lines of the run's own files: each once, at its step, resumed or sent afterwards."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from decorssl import curves, runlog, session
from decorssl.cli import app
from decorssl.loop import Training
from decorssl.recipe import Recipe
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

ONE = Runtime(torch.device("cpu"))
Images = Callable[..., LabeledImages]


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, int]]:
    """A stand-in for TensorBoard that keeps a file in its folder and what the files there hold."""
    sent: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            self.file = Path(folder) / "events"
            if not self.file.exists():
                sent.clear()
            Path(folder).mkdir(parents=True, exist_ok=True)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            sent.append((name, value, step))
            self.file.write_text("written")

        def close(self) -> None:
            self.file.write_text("closed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return sent


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for Weights & Biases: a run by its id goes on with its steps and refuses an earlier one."""
    runs: dict[str, Any] = {}

    class Run:
        def __init__(self, asked: dict[str, Any]) -> None:
            self.asked, self.step, self.sent, self.finished = asked, 0, [], False

        def log(self, values: dict[str, float], step: int) -> None:
            assert step >= self.step, "steps go forwards"
            self.step = step
            self.sent += [(name, value, step) for name, value in values.items()]

        def finish(self) -> None:
            self.step, self.finished = self.step + 1, True

    def init(**asked: Any) -> Run:
        assert asked["resume"] == "allow"
        return runs.setdefault(asked["id"], Run(asked))

    module = ModuleType("wandb")
    module.init = init  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def lines(folder: Path, name: str = runlog.STEPS) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def losses(sent: list[tuple[str, float, int]]) -> list[tuple[int, float]]:
    return [(step, value) for name, value, step in sent if name == "steps/loss"]


def stopped_and_resumed(recipe: Recipe, images: LabeledImages, folder: Path, names: tuple[str, ...]) -> None:
    """Six steps: saved after two, killed after four without a save, gone on with from the second."""
    for save_at, stop_at in ((2, 4), (None, 6)):
        training = Training(recipe, images, ONE)
        with curves.opened(folder, names, {}) as sinks:
            log = runlog.open_run(folder, training, sinks)
            for step in training.steps():
                log.add(step)
                if step.index == save_at:
                    log.save()
                if step.index == stop_at:
                    log.note({"step": step.index, "knn": 50.0})
                    break


@pytest.mark.parametrize("names", [("tensorboard",), ("wandb",), ("tensorboard", "wandb")])
def test_a_resumed_run_goes_on_at_its_step_and_sends_none_twice(
    names: tuple[str, ...], recipe: Recipe, tiny_images: Images, tmp_path: Path, board: Any, wandb: Any
) -> None:
    stopped_and_resumed(recipe, tiny_images(20), tmp_path, names)
    written = [(line["step"], line["loss"]) for line in lines(tmp_path) if "loss" in line]
    assert [step for step, _ in written] == [1, 2, 3, 4, 5, 6]
    if "tensorboard" in names:
        assert losses(board) == written
        assert ("steps/knn", 50.0, 6) in board
    if "wandb" in names:
        (run,) = wandb.values()
        assert losses(run.sent) == written
        assert run.finished
        assert run.asked["name"] == tmp_path.name


def test_what_was_trained_before_it_was_asked_for_is_sent_too(
    recipe: Recipe, tiny_images: Images, tmp_path: Path, board: Any
) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    log = runlog.open_run(tmp_path, training)
    for step in training.steps():
        log.add(step)
    log.finish()
    with (tmp_path / runlog.SPECTRA).open("a") as file:
        file.write(
            json.dumps({"step": 2, "alarm": None, "embedding": {"stable_rank": 3.5, "eigenvalues": [1.0]}}) + "\n"
        )
        file.write('{"step": 3, "cut')
    result = CliRunner().invoke(app, ["log", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert losses(board) == [(line["step"], line["loss"]) for line in lines(tmp_path)]
    assert [each for each in board if each[0].startswith("spectra")] == [("spectra/embedding/stable_rank", 3.5, 2)]
    assert [step for *_, step in board] == sorted(step for *_, step in board)
    CliRunner().invoke(app, ["log", str(tmp_path)], catch_exceptions=False)
    assert len(losses(board)) == 6, "again is not twice"


def test_a_session_sends_its_curves_to_both(
    recipe: Recipe, tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Any, wandb: Any
) -> None:
    monkeypatch.setattr(session, "open_split", lambda data, split, root: tiny_images(20, split=split))
    options = session.RunOptions("cpu", workers=0, knn_every=3, log=("tensorboard", "wandb"))
    assert not session.run(recipe, tmp_path / "run", False, options, lambda text: None)
    (run,) = wandb.values()
    assert (
        losses(run.sent)
        == losses(board)
        == [(line["step"], line["loss"]) for line in lines(tmp_path / "run") if "loss" in line]
    )
    assert {"steps/knn", "steps/lr", "spectra/embedding/stable_rank"} <= {name for name, *_ in board}
    assert run.asked["config"]["method"] == "intl"


@pytest.mark.parametrize(("name", "module"), curves.MODULES.items())
def test_a_missing_package_is_told_before_anything_is_spent(
    name: str, module: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=f"pip install {name}"):
        session.run(recipe, tmp_path / "run", False, session.RunOptions("cpu", log=(name,)), lambda text: None)
    assert not (tmp_path / "run").exists()


def test_an_unknown_place_and_a_folder_without_a_run_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'tensorboard'"):
        curves.check(["tensorbord"])
    with pytest.raises(UserError, match="There is no run in"):
        CliRunner().invoke(app, ["log", str(tmp_path)], catch_exceptions=False)


def test_numbers_alone_are_curves() -> None:
    line = {"step": 3, "epoch": 0, "loss": 1.5, "nan": float("nan"), "alarm": "x", "ok": True, "in": {"a": 1, "b": [2]}}
    assert curves.scalars(line, "steps") == {"steps/epoch": 0, "steps/loss": 1.5, "steps/in/a": 1}


def test_without_a_sink_nothing_is_read_or_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "importlib", SimpleNamespace(import_module=None))
    (tmp_path / runlog.STEPS).write_text("no JSON")
    with curves.opened(tmp_path, (), {}) as sinks:
        sinks.replay(tmp_path, runlog.FILES)
        sinks.add({"step": 1, "loss": 1.0}, runlog.STEPS)
    assert list(tmp_path.iterdir()) == [tmp_path / runlog.STEPS]
