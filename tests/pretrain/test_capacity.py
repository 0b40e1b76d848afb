"""A GPU that does not hold the batch: what is said, and the batch that is said to fit."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from decorssl import capacity, session, states
from decorssl.loop import Training
from decorssl.methods import intl
from decorssl.recipe import Recipe
from transferbench.data import LabeledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

Images = Callable[..., LabeledImages]


def training(recipe: Recipe, images: LabeledImages, processes: int = 1) -> Training:
    return Training(recipe.model_copy(update={"batch_size": 128}), images, Runtime(torch.device("cpu"), 0, processes))


@pytest.mark.parametrize(("processes", "expected"), [(1, 72), (2, 144)])
def test_the_batch_that_fits_is_found_from_two_small_ones(
    processes: int, expected: int, recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1000 bytes and 10 an image, in 0.9 * 2000 bytes: 80 images; in 0.9 * 1999: 79, of which 72 are eights."""
    monkeypatch.setattr(capacity, "peak", lambda training, batch: 1000.0 + 10 * batch)
    monkeypatch.setattr(capacity, "usable", lambda training: 1999)
    assert capacity.fitting(training(recipe, tiny_images(256), processes)) == expected


@pytest.mark.parametrize(
    ("changed", "fits", "expected"),
    [
        ({}, 40, "--set batch_size=40, or --set micro_batch_size=32, with which the loss still sees 128 images"),
        ({}, None, "try half as many: --set batch_size=64, or --set micro_batch_size=64"),
        ({}, 200, "try half as many: --set batch_size=64, or --set micro_batch_size=64"),
        (
            {"micro_batch_size": 32},
            24,
            "32 images .*micro_batch_size 32 over 1.*24 would fit: --set micro_batch_size=16. That",
        ),
    ],
)
def test_the_ways_out_are_named(
    changed: dict[str, int],
    fits: int | None,
    expected: str,
    recipe: Recipe,
    tiny_images: Images,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "fitting", lambda training: fits)
    said = str(capacity.out_of_memory(training(recipe.model_copy(update=changed), tiny_images(256))))
    assert re.search(expected, said)


@pytest.mark.parametrize("room", [100, 1150])
def test_where_hardly_anything_fits_nothing_is_promised(
    room: int, recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "peak", lambda training, batch: 1000.0 + 10 * batch)
    monkeypatch.setattr(capacity, "usable", lambda training: room)
    assert capacity.fitting(training(recipe, tiny_images(256))) is None


def test_a_measured_step_leaves_gradients_of_every_weight_and_counts_the_momentum(
    recipe: Recipe, tiny_images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, with the GPU's counters in place of nothing."""
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    one = training(recipe, tiny_images(256))
    before = {name: tensor.clone() for name, tensor in one.learner.state_dict().items()}
    bytes_of_weights = 4 * sum(p.numel() for p in one.learner.parameters())
    assert capacity.peak(one, 4) == 7 + bytes_of_weights
    assert all(p.grad is not None for p in one.encoder.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.learner.state_dict().items())


def test_a_run_says_so_and_keeps_its_last_state(
    recipe: Recipe, tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, calls = intl.loss, list[int]()

    def third_is_too_much(outputs: Any, context: Any) -> Any:
        calls.append(len(outputs.student[0]))
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss(outputs, context)

    monkeypatch.setattr(intl, "loss", third_is_too_much)
    monkeypatch.setattr(capacity, "fitting", lambda training: 6)
    monkeypatch.setattr(session, "open_split", lambda data, split, root: tiny_images(20, split=split))
    options = session.RunOptions("cpu", workers=0, knn_every=0, save_seconds=0.0)
    with pytest.raises(
        UserError, match=r"8 images of 2 views per process .*do not fit.*6 would fit.*batch_size=6.*--resume"
    ):
        session.run(recipe, tmp_path / "run", False, options, lambda text: None)
    assert states.newest(tmp_path / "run") is not None
