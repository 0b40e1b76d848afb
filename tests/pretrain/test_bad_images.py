"""Broken images: replaced the same way by whoever reads them, counted, and refused when they are too many."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from decorssl.bad_images import BadImageReplacer
from decorssl.loop import Training
from decorssl.recipe import Recipe
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

ONE = Runtime(torch.device("cpu"))
Images = Callable[..., LabeledImages]


def broken(images: LabeledImages, *bad: int) -> LabeledImages:
    def read(index: int) -> Image.Image:
        if index in bad:
            raise OSError("image file is truncated")
        return images.read(index)

    return replace(images, read=read)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_replaced_counted_and_listed_whatever_the_workers(
    workers: int, recipe: Recipe, tiny_images: Images, tmp_path: Path
) -> None:
    """The run is the one of a data set that holds the next images in their places."""
    whole = tiny_images(20)
    stand_ins = replace(whole, read=lambda i: whole.read({4: 6, 5: 6, 19: 0}.get(i, i)))
    substitutes = BadImageReplacer(broken(whole, 4, 5, 19), 3, tmp_path)
    training, expected = (Training(recipe, each, ONE, workers) for each in (substitutes.images, stand_ins))
    counts = [substitutes.after(step, training) for step in training.steps()]
    for _ in expected.steps():
        pass
    assert [count for count in counts if count is not None][-1] == 3
    assert all(count is None for count in counts[::2]), "in the middle of an epoch"
    assert json.loads((tmp_path / "bad_images.json").read_text()) == {
        "count": 3, "of": 20, "names": ["train-19", "train-4", "train-5"]
    }  # fmt: skip
    weights, others = training.learner.state_dict(), expected.learner.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, r"Cannot decode image 'train-[34]'"),
        (1, r"2 images of tiny cannot be decoded.*more than the 1 that --bad-images allows: train-3, train-4"),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_more_broken_images_than_allowed_end_the_run(
    limit: int, expected: str, workers: int, recipe: Recipe, tiny_images: Images, tmp_path: Path
) -> None:
    substitutes = BadImageReplacer(broken(tiny_images(20), 3, 4), limit, tmp_path)
    with pytest.raises(UserError, match=expected) as kept:
        list(Training(recipe, substitutes.images, ONE, workers).steps())
    assert multiprocessing.active_children() == [], f"the traceback of {kept.value} keeps loaders alive"


def test_what_earlier_calls_found_stays_on_the_list(recipe: Recipe, tiny_images: Images, tmp_path: Path) -> None:
    for bad in (3, 8):
        substitutes = BadImageReplacer(broken(tiny_images(20), bad), 5, tmp_path)
        training = Training(recipe, substitutes.images, ONE)
        assert [substitutes.after(step, training) for step in training.steps()].count(1) == 1
    assert json.loads((tmp_path / "bad_images.json").read_text())["names"] == ["train-3", "train-8"]


def test_what_other_processes_found_counts_and_is_listed(recipe: Recipe, tiny_images: Images, tmp_path: Path) -> None:
    class WithPeer(Runtime):
        def total(self, x: torch.Tensor) -> torch.Tensor:
            return x.index_add(0, torch.tensor([3, 8]), torch.ones(2, dtype=x.dtype))

    substitutes = BadImageReplacer(broken(tiny_images(20), 3), 5, tmp_path)
    training = Training(recipe, substitutes.images, WithPeer(torch.device("cpu")))
    assert [substitutes.after(step, training) for step in training.steps()].count(2) == 1
    assert json.loads((tmp_path / "bad_images.json").read_text())["names"] == ["train-3", "train-8"]


def test_images_of_which_none_can_be_decoded_are_an_error(tiny_images: Images, tmp_path: Path) -> None:
    substitutes = BadImageReplacer(broken(tiny_images(4), 0, 1, 2, 3), 9, tmp_path)
    with pytest.raises(UserError, match="4 images of tiny cannot be decoded"):
        substitutes.images.image(2)


def test_a_loader_process_that_is_killed_is_told_with_its_batch(recipe: Recipe, tiny_images: Images) -> None:
    images = tiny_images(20)

    def read(index: int) -> Image.Image:
        os.kill(os.getpid(), signal.SIGKILL)
        return images.read(index)

    with pytest.raises(UserError, match=r"(?s)loader process died.*epoch 1,.*'train-\d+' to 'train-.*--workers 0"):
        list(Training(recipe, replace(images, read=read), ONE, 1, "pil").steps())
