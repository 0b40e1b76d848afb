"""k-NN and spectra while training: when they are measured, what is told, and that measuring changes nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from decorssl.loop import Step, Training
from decorssl.monitor import PATIENCE, Monitor, Watch, embeddings
from decorssl.recipe import Recipe
from transferbench.data import LabeledImages
from transferbench.runtime import Runtime

ONE = Runtime(torch.device("cpu"))
Images = Callable[..., LabeledImages]


def test_it_is_measured_every_n_epochs_and_after_the_last(recipe: Recipe, tiny_images: Images) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    monitor = Monitor(training, tiny_images(12, split="test"), 2)
    measured = {step.index: monitor.after(step) for step in training.steps()}
    assert [index for index, value in measured.items() if value is not None] == [4, 6]
    assert all(value is None or 0 <= value <= 100 for value in measured.values())


def test_without_a_test_split_it_never_measures(recipe: Recipe, tiny_images: Images) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    monitor = Monitor(training, None, 1)
    assert all(monitor.after(step) is None for step in training.steps())


def test_measuring_does_not_change_the_weights(recipe: Recipe, tiny_images: Images) -> None:
    ends = []
    for every in (1, 0):
        training = Training(recipe, tiny_images(20), ONE)
        monitor, watch = Monitor(training, tiny_images(12, split="test"), every), Watch(training, every)
        for step in training.steps():
            assert (watch.after(step) is not None) == bool(every and step.index % 2 == 0)
            monitor.after(step)
            assert all(part.training for part in training.learner.modules())
        ends.append(training.learner.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_colors_that_differ_by_class_are_told_apart(recipe: Recipe, tiny_images: Images) -> None:
    training = Training(recipe, tiny_images(40), ONE)
    monitor = Monitor(training, tiny_images(20, split="test"), 1)
    value = next(v for step in training.steps() if (v := monitor.after(step)) is not None)
    assert value > 60


def test_spectra_are_of_the_same_plain_images_whatever_the_step(recipe: Recipe, tiny_images: Images) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    watch = Watch(training, 2)
    lines = {step.index: watch.after(step) for step in training.steps()}
    assert [index for index, line in lines.items() if line is not None] == [4, 6]
    line = lines[6]
    assert line is not None
    assert (line["step"], line["epoch"]) == (6, 2)
    training.encoder.eval()
    stacked = torch.stack([plain(training, i) for i in range(20)])
    with torch.no_grad():
        features = training.encoder.backbone(stacked)
        expected = {"backbone": features.numpy(), "embedding": training.encoder.projector(features).numpy()}
    for name, x in expected.items():
        singular = np.linalg.svd(x.astype(np.float64) - x.mean(0, dtype=np.float64), compute_uv=False)
        assert line[name]["stable_rank"] == pytest.approx((singular**2).sum() / singular[0] ** 2, rel=1e-3)
        assert line[name]["std"] == pytest.approx(x.std(0, ddof=1).mean(), rel=1e-3)
        assert line[name]["n"] == 20


def plain(training: Training, i: int) -> torch.Tensor:
    from torchvision.transforms import functional as F

    preprocess = training.recipe.preprocess
    return F.normalize(F.to_tensor(training.images.image(i)), list(preprocess.mean), list(preprocess.std))


def test_a_large_set_is_watched_on_part_of_it(recipe: Recipe, tiny_images: Images) -> None:
    watch = Watch(Training(recipe, tiny_images(1100), ONE), 1)
    assert len(watch.probe) == 1024
    assert len(set(watch.probe.names)) == 1024


def end_of(epoch: int, training: Training) -> Step:
    return Step(epoch * training.steps_per_epoch, epoch - 1, {}, 0.0, 0.0, 0.0, ())


def collapse(training: Training, bias: float) -> None:
    """Let every image have the same embedding (but for rounding), or all vary along one direction."""
    last = training.encoder.projector[-1]
    with torch.no_grad():
        last.weight[1:] = 0
        last.weight[0] *= 0 if bias else 1
        last.bias.fill_(bias)


@pytest.mark.parametrize(("bias", "words"), [(1.0, "Complete collapse"), (0.0, "Dimensional collapse")])
def test_collapse_that_lasts_is_told_once(recipe: Recipe, tiny_images: Images, bias: float, words: str) -> None:
    training = Training(recipe.model_copy(update={"epochs": 9}), tiny_images(60), ONE)
    watch = Watch(training, 1)
    healthy = watch.after(end_of(1, training))
    assert healthy is not None
    assert (healthy["collapse"], healthy["alarm"]) == ("none", None)
    collapse(training, bias)
    told = [watch.after(end_of(epoch, training)) for epoch in range(2, 10)]
    alarms = [line["alarm"] for line in told if line]
    assert [alarm is not None for alarm in alarms] == [i == PATIENCE - 1 for i in range(8)]
    assert words in alarms[PATIENCE - 1]
    assert "optim.lr" in alarms[PATIENCE - 1]


def test_collapse_at_the_end_is_told_without_waiting(recipe: Recipe, tiny_images: Images) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    collapse(training, 1.0)
    line = Watch(training, 3).after(end_of(3, training))
    assert line is not None
    assert "Complete" in line["alarm"]


def test_features_that_are_not_finite_are_left_to_the_run_log(recipe: Recipe, tiny_images: Images) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    with torch.no_grad():
        training.encoder.projector[-1].bias[0] = torch.nan
    assert Watch(training, 1).after(end_of(1, training)) is None


def test_watching_reads_in_float32_whatever_the_recipe(recipe: Recipe, tiny_images: Images) -> None:
    images = tiny_images(20)
    full = Training(recipe, images, ONE)
    half = Training(recipe.model_copy(update={"precision": "bfloat16"}), images, ONE)
    for a, b in zip(embeddings(full, images), embeddings(half, images), strict=True):
        np.testing.assert_array_equal(a, b)
