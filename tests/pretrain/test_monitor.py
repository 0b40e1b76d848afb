"""k-NN while training: when it is measured, and that measuring changes nothing."""

from collections.abc import Callable

import torch

from decorssl.loop import Training
from decorssl.monitor import Monitor
from decorssl.recipe import Recipe
from transferbench.data import LabelledImages
from transferbench.runtime import Runtime

ONE = Runtime(torch.device("cpu"))
Images = Callable[..., LabelledImages]


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
    for every in (1, 100):
        training = Training(recipe, tiny_images(20), ONE)
        monitor = Monitor(training, tiny_images(12, split="test"), every)
        for step in training.steps():
            monitor.after(step)
        ends.append(training.learner.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_colours_that_differ_by_class_are_told_apart(recipe: Recipe, tiny_images: Images) -> None:
    training = Training(recipe, tiny_images(40), ONE)
    monitor = Monitor(training, tiny_images(20, split="test"), 1)
    value = next(v for step in training.steps() if (v := monitor.after(step)) is not None)
    assert value > 60
