"""The online linear probe: what it learns in float64 written out, that it changes nothing, and that it is resumed."""

import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl import online_probe, runlog, session
from decorssl.cli.options import intervals
from decorssl.loop import Step, Training
from decorssl.monitor import LinearMonitor
from decorssl.online_probe import OnlineProbe
from decorssl.recipe import Recipe
from transferbench import state
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

ONE = Runtime(torch.device("cpu"))
Images = Callable[..., LabeledImages]
QUIET = session.RunOptions("cpu", workers=0, knn_every=0, watch_every=0, linear_every=1, views="pil")


def probed(recipe: Recipe, images: LabeledImages) -> tuple[Training, OnlineProbe]:
    training = Training(recipe, images, ONE)
    probe = OnlineProbe(training)
    training.companions[online_probe.NAME] = probe
    return training, probe


def literal(steps: list[Step], total: int, classes: int, places: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """SGD with momentum 0.9 on the mean cross-entropy, image by image, in float64 (solo/methods/base.py, and torch's
    documented update: v = 0.9 v + g; w = w - lr v)."""
    width = steps[0].features[0].shape[1]
    w, b = np.zeros((classes, width)), np.zeros(classes)
    vw, vb = np.zeros_like(w), np.zeros_like(b)
    for step in steps:
        gw, gb, count = np.zeros_like(w), np.zeros_like(b), 0
        assert step.labels is not None
        for place in places:
            for x, label in zip(step.features[place].double().numpy(), step.labels.tolist(), strict=True):
                if label < 0:
                    continue
                scores = w @ x + b
                chances = np.exp(scores - scores.max())
                chances /= chances.sum()
                chances[label] -= 1
                gw, gb, count = gw + np.outer(chances, x), gb + chances, count + 1
        vw, vb = 0.9 * vw + gw / max(count, 1), 0.9 * vb + gb / max(count, 1)
        rate = 0.1 * 0.5 * (1 + math.cos(math.pi * (step.index - 1) / total))
        w, b = w - rate * vw, b - rate * vb
    return w, b


def test_it_learns_what_the_formulas_say_from_labeled_images_and_large_views(
    recipe: Recipe, tiny_images: Images
) -> None:
    images = tiny_images(24)
    some = replace(images, labels=np.where(np.arange(24) < 15, images.labels, -1))
    small = recipe.views[0].scaled(0.5)
    training, probe = probed(recipe.model_copy(update={"views": (small, *recipe.views)}), some)
    steps = list[Step]()
    for step in training.steps():
        probe.learn(step)
        steps.append(step)
    assert probe.places == [1, 2]
    assert all(z.shape == (8, 64) and not z.requires_grad for step in steps for z in step.features)
    w, b = literal(steps, training.total_steps, 4, [1, 2])
    np.testing.assert_allclose(probe.weight.detach(), w, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(probe.bias.detach(), b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("part", [None, 4])
def test_the_run_is_the_same_to_the_bit(part: int | None, recipe: Recipe, tiny_images: Images) -> None:
    ends = list[dict[str, Tensor]]()
    chosen = recipe.model_copy(update={"micro_batch_size": part, "epochs": 2})
    for is_probed in (True, False):
        training, probe = probed(chosen, tiny_images(20))
        if not is_probed:
            training.companions.clear()
        linear = LinearMonitor(training, tiny_images(12, split="test"), 1)
        measured = {step.index: linear.after(step) for step in training.steps()}
        assert [index for index, value in measured.items() if value is not None] == ([2, 4] if is_probed else [])
        assert bool(probe.weight.any()) == is_probed
        ends.append(training.learner.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_colors_that_differ_by_class_are_told_apart(recipe: Recipe, tiny_images: Images) -> None:
    training, _ = probed(recipe.model_copy(update={"epochs": 4}), tiny_images(40))
    linear = LinearMonitor(training, tiny_images(20, split="test"), 4)
    values = [value for step in training.steps() if (value := linear.after(step)) is not None]
    assert len(values) == 1
    assert values[0] >= 50, "by chance 25"


def test_processes_make_together_the_step_of_one(recipe: Recipe, tiny_images: Images) -> None:
    """Two halves of a batch with different numbers of labeled images; sums over processes are those of threads here."""
    training, whole = probed(recipe, tiny_images(8))
    step = next(training.steps())
    labels = torch.tensor([0, 1, 2, -1, -1, -1, 3, -1])
    whole.learn(replace(step, labels=labels))
    parts, barrier, slots = (
        [probed(recipe, tiny_images(8)) for _ in range(2)],
        threading.Barrier(2),
        [torch.zeros(0)] * 2,
    )

    def learn(rank: int) -> None:
        class Shared(Runtime):
            def total(self, x: Tensor) -> Tensor:
                slots[rank] = x
                barrier.wait(10)
                found = slots[0] + slots[1]
                barrier.wait(10)
                return found

        own, rows = parts[rank], slice(4 * rank, 4 * rank + 4)
        own[0].runtime = Shared(ONE.device, rank, 2)
        own[1].learn(replace(step, labels=labels[rows], features=tuple(x[rows] for x in step.features)))

    threads = [threading.Thread(target=learn, args=(rank,)) for rank in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    for _, own in parts:
        torch.testing.assert_close(own.weight, whole.weight)
        torch.testing.assert_close(own.bias, whole.bias)


def test_a_saved_probe_goes_on_as_if_nothing_had_happened(recipe: Recipe, tiny_images: Images, tmp_path: Path) -> None:
    training, unbroken = probed(recipe, tiny_images(20))
    for step in training.steps():
        unbroken.learn(step)
        if step.index == 3:
            state.save(tmp_path / "state.safetensors", training.state())
    again, resumed = probed(recipe, tiny_images(20))
    again.restore(state.load(tmp_path / "state.safetensors"))
    for step in again.steps():
        resumed.learn(step)
    assert torch.equal(resumed.weight, unbroken.weight)
    assert torch.equal(resumed.bias, unbroken.bias)


def run(recipe: Recipe, folder: Path, options: session.RunOptions) -> tuple[list[str], list[dict[str, Any]]]:
    said = list[str]()
    assert not session.run(recipe, folder, True, options, said.append)
    return said, [json.loads(line) for line in (folder / runlog.STEPS).read_text().splitlines()]


def test_a_session_writes_its_curve_and_says_where_a_probe_begins_late(
    recipe: Recipe, tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "open_split", lambda data, split, root: tiny_images(20, split=split))
    said, lines = run(recipe, tmp_path / "run", QUIET)
    curve = [(line["step"], line["linear"]) for line in lines if "linear" in line]
    assert [step for step, _ in curve] == [2, 4, 6]
    assert f"epoch 3: linear {curve[-1][1]:.1f} %" in said
    assert "best linear" in said[-2]
    (tmp_path / "run" / runlog.BACKBONE).unlink()
    said, _ = run(recipe, tmp_path / "run", QUIET)
    assert not any("probe begins" in line for line in said)
    run(recipe, tmp_path / "plain", replace(QUIET, linear_every=0))
    (tmp_path / "plain" / runlog.BACKBONE).unlink()
    said, _ = run(recipe, tmp_path / "plain", QUIET)
    assert "The linear probe begins after step 6: the run was saved without one." in said


def test_images_without_labels_have_no_probe_and_that_is_said_once(
    recipe: Recipe, tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = replace(tiny_images(12), labels=np.full(12, -1))
    monkeypatch.setattr(session, "open_split", lambda data, split, root: none)
    said, lines = run(recipe.model_copy(update={"epochs": 1}), tmp_path / "run", replace(QUIET, knn_every=1))
    assert not any("linear" in line for line in lines)
    assert [line for line in said if "left out" in line] == [
        "tiny has no labels: k-NN and the linear probe while training are left out."
    ]


@pytest.mark.parametrize(
    ("watch", "every", "knn", "expected"),
    [
        (None, None, None, (10, 0, 1)),
        (None, 2, None, (10, 0, 2)),
        (None, 0, 0, (0, 0, 0)),
        (None, None, 3, (3, 0, 1)),
        ("linear", None, None, (0, 10, 0)),
        ("knn,linear,spectrum", 5, None, (5, 5, 5)),
        ("knn,linear", 5, 2, (2, 5, 0)),
        ("", 5, None, (0, 0, 0)),
    ],
)
def test_what_is_watched_and_how_often(
    watch: str | None, every: int | None, knn: int | None, expected: tuple[int, int, int]
) -> None:
    assert tuple(intervals(watch, every, knn)[name] for name in ("knn", "linear", "spectrum")) == expected


def test_an_unknown_measurement_is_told_with_those_that_are() -> None:
    with pytest.raises(UserError, match="Did you mean 'linear'"):
        intervals("knn,liner", None, None)
