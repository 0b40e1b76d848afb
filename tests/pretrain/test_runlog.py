"""The run folder: what it keeps when a run goes wrong or is cut short."""

import errno
import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decorssl import runlog, states
from decorssl.diagnosis import advice
from decorssl.loop import Training
from decorssl.methods import Context, Outputs
from decorssl.recipe import Recipe, read
from transferbench import checkpoints, state
from transferbench.checkpoints.load import load
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

ONE = Runtime(torch.device("cpu"))
Images = Callable[..., LabeledImages]


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_state(
    recipe: Recipe, tiny_images: Images, tmp_path: Path
) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    log = runlog.open_run(tmp_path, training)
    steps = training.steps()
    log.add(next(steps))
    log.save()
    good = states.paths(tmp_path)[0].read_bytes()
    log.add(replace(next(steps), terms={"loss": torch.tensor(float("nan"))}))
    with pytest.raises(UserError, match=r"(?s)loss is nan at step 2.*singular values.*last good state .state-00000001"):
        log.save()
    assert states.paths(tmp_path)[0].read_bytes() == good


def failed(recipe: Recipe, images: LabeledImages, folder: Path) -> dict[str, Any]:
    """Train until the run log ends the run; its report."""
    training = Training(recipe, images, ONE)
    log = runlog.open_run(folder, training)
    steps = training.steps()
    log.add(next(steps))
    with pytest.raises(UserError, match="The loss is nan at step 1"):
        log.add(next(steps))
    return json.loads((folder / runlog.FAILURE).read_text())


def test_an_image_that_is_not_finite_is_found_in_the_embeddings(
    recipe: Recipe, tiny_images: Images, tmp_path: Path
) -> None:
    """A standard deviation in the subnormal range makes the pixels infinite."""
    preprocess = recipe.preprocess.model_copy(update={"std": (1e-42, 1.0, 1.0)})
    found = failed(recipe.model_copy(update={"preprocess": preprocess}), tiny_images(20), tmp_path)
    assert found["terms"]["loss"] == "nan"
    assert [view["non_finite_share"] for view in found["embeddings"]] == [1, 1]
    assert "themselves are not finite" in found["cause"]
    assert "std" not in found["embeddings"][0]


def test_a_matrix_that_cannot_be_factored_ends_the_run_with_the_spectrum_of_its_batch(
    recipe: Recipe, tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[np.ndarray] = []

    def loss(outputs: Outputs, context: Context) -> dict[str, torch.Tensor]:
        kept.extend(z.detach().double().numpy() for z in outputs.student)
        raise torch.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr("decorssl.methods.intl.loss", loss)
    before = Training(recipe, tiny_images(20), ONE).state()
    found = failed(recipe, tiny_images(20), tmp_path)
    for view, z in zip(found["embeddings"], kept, strict=False):
        singular = np.linalg.svd(z - z.mean(0), compute_uv=False)[:7]
        assert (view["n"], view["d"], view["non_finite_share"], view["finite_rows"]) == (8, 32, 0, 8)
        assert view["largest_singular_value"] == pytest.approx(singular[0], rel=1e-6)
        assert view["smallest_singular_value"] == pytest.approx(singular[-1], rel=1e-4)
        assert view["stable_rank"] == pytest.approx((singular**2).sum() / singular[0] ** 2, rel=1e-6)
        assert view["std"] == pytest.approx(z.std(0, ddof=1).mean(), rel=1e-6)
    assert "embeddings are finite" in found["cause"]
    assert before["done"] == 0
    assert states.paths(tmp_path) == []


def test_advice_is_what_the_recipe_can_be_told(recipe_file: Path) -> None:
    intl = advice(read(recipe_file, ["precision=bfloat16"]))
    wmse = advice(read(recipe_file, ["method=wmse", "settings={w_size: 8, eps: 0.1}"]))
    assert "use precision=float32" in intl
    assert "lower settings.trade_off" in intl
    assert not any("eps" in each for each in intl)
    assert "raise settings.eps (it is 0.1)" in wmse
    assert "use precision=float32" not in wmse


def test_a_finite_loss_whose_gradient_was_not_never_replaces_a_good_state(
    recipe: Recipe, tiny_images: Images, tmp_path: Path
) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    log = runlog.open_run(tmp_path, training)
    steps = training.steps()
    log.add(next(steps))
    log.save()
    good = states.paths(tmp_path)[0].read_bytes()
    log.add(next(steps))
    with torch.no_grad():
        next(training.encoder.parameters())[0] = torch.nan
    with pytest.raises(UserError, match="not finite at step 2"):
        log.save()
    assert states.paths(tmp_path)[0].read_bytes() == good
    assert json.loads((tmp_path / runlog.FAILURE).read_text())["step"] == 2


def test_a_line_that_finds_no_room_ends_the_run_with_what_to_do(
    recipe: Recipe, tiny_images: Images, tmp_path: Path
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    training = Training(recipe, tiny_images(20), ONE)
    log = runlog.open_run(tmp_path, training)
    log.add(next(training.steps()))
    log.save()
    log.files[runlog.STEPS] = Full()  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"steps.jsonl: No space left.*MiB are free.*state-00000001.*--resume"):
        log.note({"step": 1})


def test_a_run_that_cannot_be_gone_on_with_keeps_the_name_of_the_version_that_could(
    recipe: Recipe, tiny_images: Images, tmp_path: Path
) -> None:
    (tmp_path / states.EARLIER).write_bytes(b"")
    (tmp_path / runlog.ENVIRONMENT).write_text('{"commit": "abc"}')
    with pytest.raises(UserError, match=r"version that .*environment\.json names"):
        runlog.open_run(tmp_path, Training(recipe, tiny_images(20), ONE))
    assert (tmp_path / runlog.ENVIRONMENT).read_text() == '{"commit": "abc"}'


def test_an_error_does_not_cost_the_state_being_written(
    recipe: Recipe, tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_left, write = threading.Event(), state.save_tensors

    def slow(*arguments: object) -> None:
        is_left.wait(0.5)
        write(*arguments)  # pyright: ignore[reportArgumentType]

    training = Training(recipe, tiny_images(20), ONE)
    log = runlog.open_run(tmp_path, training)
    log.add(next(training.steps()))
    monkeypatch.setattr(state, "save_tensors", slow)
    log.save_if_due(0.0)
    with pytest.raises(ZeroDivisionError), log:
        raise ZeroDivisionError
    kept = [path.name for path in states.paths(tmp_path)]
    is_left.set()
    assert kept == ["state-00000001.safetensors"]


def test_a_state_that_is_due_while_one_is_being_written_is_left_out(
    recipe: Recipe, tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, write = threading.Event(), state.save_tensors

    def slow(*arguments: object) -> None:
        go.wait(2)
        write(*arguments)  # pyright: ignore[reportArgumentType]

    training = Training(recipe, tiny_images(20), ONE)
    log, steps = runlog.open_run(tmp_path, training), training.steps()
    monkeypatch.setattr(state, "save_tensors", slow)
    for _ in range(2):
        log.add(next(steps))
        log.save_if_due(0.0)
    go.set()
    log.states.wait()
    assert [path.name for path in states.paths(tmp_path)] == ["state-00000001.safetensors"]


def test_a_run_gone_on_with_leaves_its_old_report_behind(recipe: Recipe, tiny_images: Images, tmp_path: Path) -> None:
    (tmp_path / runlog.FAILURE).write_text("{}")
    runlog.open_run(tmp_path, Training(recipe, tiny_images(20), ONE))
    assert not (tmp_path / runlog.FAILURE).exists()


def test_lines_after_the_saved_state_are_forgotten(recipe: Recipe, tiny_images: Images, tmp_path: Path) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    log = runlog.open_run(tmp_path, training)
    for step in training.steps():
        log.add(step)
        log.note({"step": step.index}, runlog.SPECTRA)
        if step.index == 2:
            log.save()
    with (tmp_path / runlog.STEPS).open("a") as file:
        file.write('{"step": 6, "lo')
    again = Training(recipe, tiny_images(20), ONE)
    runlog.open_run(tmp_path, again)
    assert again.done == 2
    for name in (runlog.STEPS, runlog.SPECTRA):
        assert [json.loads(line)["step"] for line in (tmp_path / name).read_text().splitlines()] == [1, 2]


def test_the_backbone_is_written_with_its_card(recipe: Recipe, tiny_images: Images, tmp_path: Path) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    path = runlog.open_run(tmp_path, training).finish()
    candidate = load(path)
    assert candidate.digest == checkpoints.digest(training.encoder.backbone.state_dict())
    assert candidate.card.architecture == recipe.backbone
    assert candidate.card.preprocess == recipe.preprocess
    origin = candidate.card.origin
    assert (origin.method, origin.recipe, origin.epochs, origin.seed) == ("intl", "tiny", 3, 0)
    assert origin.data == "tiny"


def test_a_teacher_is_written_beside_the_student(recipe_file: Path, tiny_images: Images, tmp_path: Path) -> None:
    training = Training(read(recipe_file, ["method=byol", "settings.momentum=0.5"]), tiny_images(20), ONE)
    for _ in training.steps():
        pass
    student = load(runlog.open_run(tmp_path, training).finish())
    teacher = load(tmp_path / runlog.TEACHER)
    assert training.teacher is not None
    assert teacher.digest == checkpoints.digest(training.teacher.backbone.state_dict())
    assert teacher.digest != student.digest
    assert (student.name, teacher.name) == ("tiny", "tiny (teacher)")


def test_a_damaged_state_is_named(recipe: Recipe, tiny_images: Images, tmp_path: Path) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    runlog.open_run(tmp_path, training).save()
    path = states.paths(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"(?s)Every state in .* is damaged: {path.name}.*another --out"):
        runlog.open_run(tmp_path, Training(recipe, tiny_images(20), ONE))


@pytest.mark.parametrize(
    ("method", "settings", "parts", "loss"),
    [("intl", "{}", "null", False), ("intl", "{}", "4", False), ("wmse", "{w_size: 8, eps: 0.1}", "null", True)],
)
def test_other_processes_are_told_what_is_not_the_same(
    method: str, settings: str, parts: str, loss: bool, recipe_file: Path, tiny_images: Images, tmp_path: Path
) -> None:
    small = read(
        recipe_file, [f"method={method}", f"settings={settings}", "projector.output=4", f"micro_batch_size={parts}"]
    )
    said: list[str] = []
    runlog.open_run(tmp_path, Training(small, tiny_images(20), ONE), say=said.append).save()
    runlog.open_run(tmp_path, Training(small, tiny_images(20), ONE), say=said.append)
    assert said == []
    path = states.paths(tmp_path)[0]
    state.save(path, {**state.load(path), "processes": 4})
    runlog.open_run(tmp_path, Training(small, tiny_images(20), ONE), say=said.append)
    assert "Saved by 4 processes, resumed by 1: schedule, images, their order" in said[0]
    assert ("over the images of one process, now 8 and not 2" in said[0]) == loss
    assert ("holds other images" in said[0]) == (parts != "null")


def test_a_vision_transformer_can_be_pretrained(recipe_file: Path, tiny_images: Images, tmp_path: Path) -> None:
    vit = "backbone={family: vit, arguments: {image_size: 16, patch_size: 4, dim: 16, depth: 1, heads: 2}}"
    training = Training(read(recipe_file, [vit]), tiny_images(20), ONE)
    before = training.encoder.backbone.state_dict()["blocks.0.attn.qkv.weight"].clone()
    log = runlog.open_run(tmp_path, training)
    log.add(next(training.steps()))
    assert not torch.equal(before, training.encoder.backbone.state_dict()["blocks.0.attn.qkv.weight"])
    assert load(log.finish()).card.architecture == training.recipe.backbone
