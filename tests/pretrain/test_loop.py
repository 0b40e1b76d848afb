"""The loop: what a run depends on, exact resume, one process against two."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import torch

from decorssl.loop import Training
from decorssl.methods import Context, Outputs
from decorssl.recipe import Recipe, read
from transferbench import runtime
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

ONE = Runtime(torch.device("cpu"))
Images = Callable[..., LabeledImages]


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in training.learner.state_dict().items()}


def trained(recipe: Recipe, images: LabeledImages, workers: int = 0) -> Training:
    training = Training(recipe, images, ONE, workers)
    for _ in training.steps():
        pass
    return training


def assert_identical(a: Training, b: Training) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_same_seed_gives_the_same_weights_whatever_the_workers(recipe: Recipe, tiny_images: Images) -> None:
    assert_identical(trained(recipe, tiny_images(20)), trained(recipe, tiny_images(20), workers=2))


def test_another_seed_gives_other_weights(recipe: Recipe, tiny_images: Images) -> None:
    other = recipe.model_copy(update={"seed": 1})
    a, b = weights(trained(recipe, tiny_images(20))), weights(trained(other, tiny_images(20)))
    assert not torch.equal(a["encoder.backbone.conv1.weight"], b["encoder.backbone.conv1.weight"])


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_run_gone_on_with_ends_bit_identical(recipe: Recipe, tiny_images: Images, stop: int, tmp_path: Path) -> None:
    from transferbench import state

    images = tiny_images(20)
    broken = Training(recipe, images, ONE)
    for step in broken.steps():
        if step.index == stop:
            state.save(tmp_path / "state", broken.state())
            break
    second = Training(recipe, images, ONE)
    second.restore(state.load(tmp_path / "state"))
    assert [step.index for step in second.steps()] == list(range(stop + 1, 7))
    assert_identical(trained(recipe, images), second)


def test_global_random_state_is_left_alone(recipe: Recipe, tiny_images: Images) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trained(recipe, tiny_images(20))
    assert torch.equal(before, torch.get_rng_state())


def test_learning_rate_follows_the_published_schedule(recipe: Recipe, tiny_images: Images) -> None:
    import math

    rates = [step.lr for step in Training(recipe, tiny_images(20), ONE).steps()]
    base = 1.0 * 8 / 256
    expected = [base / 2, base]
    for s in range(4):
        q = 0.5 * (1 + math.cos(math.pi * (s + 1) / 4))
        expected.append(base * q + 0.001 * base * (1 - q))
    assert rates == pytest.approx(expected)


def test_a_method_is_told_its_step_and_epoch_and_draws_anew_each_time(
    recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, told, drawn = Training(recipe, tiny_images(20), ONE), list[tuple[int, ...]](), list[float]()
    loss = training.method.loss

    def noted(outputs: Outputs, context: Context) -> dict[str, torch.Tensor]:
        told.append((context.step, context.total_steps, context.epoch, context.epochs))
        drawn.append(torch.rand((), generator=context.generator).item())
        return loss(outputs, context)

    monkeypatch.setattr(training.method, "loss", noted)
    for _ in training.steps():
        pass
    assert told == [(step, 6, step // 2, 3) for step in range(6)]
    other = Training(recipe, tiny_images(20), Runtime(torch.device("cpu"), 1, 2))._context()
    drawn.append(torch.rand((), generator=other.generator).item())
    assert len(set(drawn)) == 7, "the second process draws for itself"


def test_a_teacher_moves_towards_the_student_as_it_is_after_the_step(
    recipe_file: Path, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read(recipe_file, ["method=byol", "settings={predictor_hidden: 16}"])
    training = Training(recipe, tiny_images(8), ONE)
    monkeypatch.setattr(training.method, "momentum", lambda context: 0.25)
    assert training.teacher
    begun = [p.clone() for p in training.teacher.parameters()]
    next(training.steps())
    students, teachers = list(training.encoder.parameters()), list(training.teacher.parameters())
    assert not all(torch.allclose(a, b) for a, b in zip(begun, students, strict=True))
    for before, student, teacher in zip(begun, students, teachers, strict=True):
        torch.testing.assert_close(teacher, 0.25 * before + 0.75 * student.detach(), rtol=1e-5, atol=1e-7)


GROWING = [{"until_epoch": 1, "scale": 0.5}, {"until_epoch": 2, "scale": 0.75}]


def grown(recipe_file: Path) -> Recipe:
    return read(recipe_file, [f"growth={GROWING}"])


def test_views_grow_from_epoch_to_epoch(
    recipe_file: Path, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, sides = Training(grown(recipe_file), tiny_images(20), ONE), list[tuple[int, ...]]()
    forward = training.encoder.backbone.forward

    def noted(images: torch.Tensor) -> torch.Tensor:
        sides.append(tuple(images.shape[2:]))
        return forward(images)

    monkeypatch.setattr(training.encoder.backbone, "forward", noted)
    assert [step.index for step in training.steps()] == [1, 2, 3, 4, 5, 6]
    assert sides == [(8, 8)] * 4 + [(12, 12)] * 4 + [(16, 16)] * 4


def test_a_stage_ends_with_the_run(recipe_file: Path, tiny_images: Images) -> None:
    training = Training(read(recipe_file, ["growth=[{until_epoch: 9, scale: 0.5}]"]), tiny_images(20), ONE)
    assert [step.index for step in training.steps()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_growing_run_gone_on_with_ends_bit_identical(recipe_file: Path, tiny_images: Images, stop: int) -> None:
    recipe, images = grown(recipe_file), tiny_images(20)
    broken, second = Training(recipe, images, ONE), Training(recipe, images, ONE)
    next(step for step in broken.steps() if step.index == stop)
    second.restore(copy.deepcopy(broken.state()))
    assert [step.index for step in second.steps()] == list(range(stop + 1, 7))
    assert_identical(trained(recipe, images), second)


def test_stages_that_do_not_follow_each_other_are_refused(recipe_file: Path) -> None:
    with pytest.raises(UserError, match=r"growth: .*each stage ends later .* found until_epoch \[1, 2, 2\]"):
        read(recipe_file, [f"growth={[*GROWING, GROWING[1]]}"])


def test_too_large_a_batch_is_refused(recipe: Recipe, tiny_images: Images) -> None:
    with pytest.raises(UserError, match="batch_size 8 is more than the 7 training images"):
        Training(recipe, tiny_images(7), ONE)


def test_a_batch_that_cannot_be_split_is_refused(recipe: Recipe, tiny_images: Images) -> None:
    with pytest.raises(UserError, match="over 3 processes"):
        Training(recipe, tiny_images(20), Runtime(torch.device("cpu"), 0, 3))


GATHERED = {
    "intl": {},
    "simclr": {},
    "byol": {"predictor_hidden": 16},
    "simsiam": {"predictor_hidden": 16},
    "mocov2": {"queue": 12},
    "swav": {"prototypes": 16, "frozen_epochs": 0, "queue": 12, "queue_from_epoch": 0},
    "dino": {"prototypes": 16, "frozen_epochs": 0},
    "emp_ssl": {},
    "corinfomax": {},
    "simdino": {},
    "mmcr_m": {"local_weight": 0.1},
    "resa": {"predictor_hidden": 16},
}
"""Methods of the global batch, and their settings in the tiny recipe."""
PARTS = "intl in parts"
VIT = "{family: vit, arguments: {image_size: 16, patch_size: 8, dim: 24, depth: 2, heads: 2}}"
"""Without batch statistics, so that it does not matter which images make a part."""


def one_step(recipes: dict[str, Recipe], images: Images, here: Runtime) -> dict[str, Any]:
    """What one step of each recipe leads to, as this process sees it."""
    led_to = {}
    for name, recipe in recipes.items():
        training = Training(recipe, images(16), here)
        step = next(training.steps())
        teacher = training.teacher.state_dict() if training.teacher else {}
        led_to[name] = {
            "loss": step.terms["loss"].item(),
            "gradients": {name: p.grad for name, p in training.learner.named_parameters()},
            "buffers": {name: b for name, b in training.learner.named_buffers() if "tracked" not in name},
            "teacher": {name: tensor for name, tensor in teacher.items() if "tracked" not in name},
        }
    return led_to


def test_two_processes_take_the_same_step_as_one(recipe_file: Path, tiny_images: Images) -> None:
    recipes = {
        method: read(recipe_file, [f"method={method}", f"settings={settings}"]) for method, settings in GATHERED.items()
    }
    recipes[PARTS] = read(recipe_file, [f"backbone={VIT}", "micro_batch_size=4"])
    alone = one_step(recipes, tiny_images, ONE)
    together, _ = forked.ranks(2, lambda rank: one_step(recipes, tiny_images, runtime.start("cpu")))
    for method, one in alone.items():
        two = together[method]
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5), method
        assert one["gradients"].keys() == two["gradients"].keys()
        for name, gradient in one["gradients"].items():
            assert (gradient is None) == (two["gradients"][name] is None), f"{method}: {name}"
            if gradient is not None:
                bound = 5e-5 * gradient.norm() + 1e-6
                assert (two["gradients"][name] - gradient).norm() <= bound, f"{method}: {name}"
        for part in ("buffers", "teacher"):
            assert one[part].keys() == two[part].keys()
            for name, tensor in one[part].items():
                torch.testing.assert_close(two[part][name], tensor, rtol=1e-5, atol=1e-5, msg=f"{method}: {name}")
