"""The run folder: what it keeps when a run goes wrong or is cut short."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decorssl import runlog
from decorssl.loop import Training
from decorssl.recipe import Recipe, read
from transferbench import checkpoints
from transferbench.checkpoints.load import load
from transferbench.data import LabelledImages
from transferbench.errors import UserError
from transferbench.runtime import Runtime

ONE = Runtime(torch.device("cpu"))
Images = Callable[..., LabelledImages]


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_state(
    recipe: Recipe, tiny_images: Images, tmp_path: Path
) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    log = runlog.open_run(tmp_path, training)
    steps = training.steps()
    log.add(next(steps))
    log.save()
    good = (tmp_path / runlog.STATE).read_bytes()
    log.add(replace(next(steps), terms={"loss": torch.tensor(float("nan"))}))
    with pytest.raises(UserError, match=r"loss is nan at step 2.*last good state"):
        log.save()
    assert (tmp_path / runlog.STATE).read_bytes() == good


def test_lines_after_the_saved_state_are_forgotten(recipe: Recipe, tiny_images: Images, tmp_path: Path) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    log = runlog.open_run(tmp_path, training)
    for step in training.steps():
        log.add(step)
        if step.index == 2:
            log.save()
    with (tmp_path / runlog.STEPS).open("a") as file:
        file.write('{"step": 6, "lo')
    again = Training(recipe, tiny_images(20), ONE)
    runlog.open_run(tmp_path, again)
    assert again.done == 2
    assert [json.loads(line)["step"] for line in (tmp_path / runlog.STEPS).read_text().splitlines()] == [1, 2]


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


def test_a_damaged_state_is_named(recipe: Recipe, tiny_images: Images, tmp_path: Path) -> None:
    training = Training(recipe, tiny_images(20), ONE)
    runlog.open_run(tmp_path, training).save()
    state = tmp_path / runlog.STATE
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(UserError, match=runlog.STATE):
        runlog.open_run(tmp_path, Training(recipe, tiny_images(20), ONE))


def test_a_vision_transformer_can_be_pretrained(recipe_file: Path, tiny_images: Images, tmp_path: Path) -> None:
    vit = "backbone={family: vit, arguments: {image_size: 16, patch_size: 4, dim: 16, depth: 1, heads: 2}}"
    training = Training(read(recipe_file, [vit]), tiny_images(20), ONE)
    before = training.encoder.backbone.state_dict()["blocks.0.attn.qkv.weight"].clone()
    log = runlog.open_run(tmp_path, training)
    log.add(next(training.steps()))
    assert not torch.equal(before, training.encoder.backbone.state_dict()["blocks.0.attn.qkv.weight"])
    assert load(log.finish()).card.architecture == training.recipe.backbone
