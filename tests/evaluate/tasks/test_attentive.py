"""The attentive probe: held-out images choose, tokens are kept or made anew, and what was stopped goes on."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from transferbench.backbones import Architecture, build, complete
from transferbench.checkpoints import Candidate, Card, LoadReport, digest
from transferbench.checkpoints.load import wrap
from transferbench.data import open_split
from transferbench.data.subsets import limited, stratified
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.features.tokens import TokenSpec
from transferbench.probing import attentive_fit, attentive_heads
from transferbench.probing.attentive_fit import fit
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, attentive

SHARED: dict[str, Any] = {"epochs": 3, "batch_size": 8, "crops": 2, "head_width": 16}
LEARNS = {"capi": 1.0, "ep": 1000.0}
"""Rates for so few steps."""
GRID: dict[str, Any] = {"lrs": (1e-6, 0.1), "weight_decays": (0, 0.5), "held_out": 0.25}


@pytest.fixture
def bench(tmp_path, cache) -> Bench:
    return Bench(Runtime(torch.device("cpu")), cache, tmp_path)


@pytest.fixture
def dataset(tiny_images) -> Dataset:
    return Dataset(tiny_images(48), tiny_images(20, split="test"))


def vit(side: int) -> Candidate:
    arguments = {"image_size": side, "patch_size": side // 4, "dim": 48, "depth": 2, "heads": 2}
    architecture = complete(Architecture(family="vit", arguments=arguments))
    backbone = build(architecture, seed=1)
    card = Card(architecture=architecture, preprocess=Preprocess(size=None, crop=side))
    mark = digest(backbone.state_dict())
    return Candidate("vit", backbone, card, mark, LoadReport(format="live", matched=1, parameters=1))


def scores(outcome) -> dict[str, float]:
    return {score.metric: score.value for score in outcome.scores}


def grid_of(outcome) -> list[dict[str, float]]:
    return [json.loads(line) for line in outcome.artifacts["grid"].read_text().splitlines()]


def test_the_best_on_held_out_images_is_trained_anew_on_all(tiny_candidate, dataset, bench, tmp_path):
    outcome = attentive.run(tiny_candidate, dataset, attentive.Config(**SHARED, **GRID), 1, bench)
    grid = grid_of(outcome)
    assert [(line["lr"], line["weight_decay"]) for line in grid] == [(1e-6, 0), (1e-6, 0.5), (0.1, 0), (0.1, 0.5)]
    best = max(grid, key=lambda line: line["held_out_top1"])
    assert best["held_out_top1"] > min(line["held_out_top1"] for line in grid)
    found = scores(outcome)
    assert (found["chosen_lr"], found["chosen_weight_decay"]) == (best["lr"], best["weight_decay"])
    assert {score.selected_by for score in outcome.scores} == {"val"}
    single = attentive.Config(**SHARED, lrs=(best["lr"],), weight_decays=(best["weight_decay"],))
    alone = attentive.run(tiny_candidate, dataset, single, 1, Bench(bench.runtime, bench.cache, tmp_path / "alone"))
    assert scores(alone) == {"top1": found["top1"]}
    assert (alone.scores[0].selected_by, set(alone.artifacts)) == ("last", {"predictions"})


def test_test_images_have_no_part_in_the_choice_and_held_out_ones_are_not_trained_on(
    tiny_candidate, dataset, bench, tmp_path, monkeypatch
):
    seen: list[int] = []
    original = attentive_heads.AttentiveHeads.step

    def step(self, tokens, labels, factor):
        seen.append(len(labels))
        return original(self, tokens, labels, factor)

    monkeypatch.setattr(attentive_heads.AttentiveHeads, "step", step)
    wrong = dataset.test.subset(np.arange(20), "wrong labels")
    object.__setattr__(wrong, "labels", (wrong.labels + 1) % 4)
    config = attentive.Config(**SHARED, **GRID)
    first = attentive.run(tiny_candidate, dataset, config, 1, bench)
    kept = len(dataset.train) - len(stratified(dataset.train.labels, 0.25, 1))
    assert sum(seen) == 3 * (kept + 48)
    other = Bench(bench.runtime, bench.cache, tmp_path / "other")
    second = attentive.run(tiny_candidate, Dataset(dataset.train, wrong), config, 1, other)
    assert grid_of(first) == grid_of(second)
    assert scores(first)["top1"] != scores(second)["top1"]


@pytest.mark.parametrize("crops", [2, 0])
def test_kept_tokens_and_those_made_anew_give_the_same_within_their_rounding(
    crops: int, dataset, bench, tmp_path, monkeypatch
):
    probe = attentive.Config(**SHARED | {"crops": crops, "kept": "float32"}, **GRID)
    kept = fit(vit(16), dataset, probe, 1, bench)
    monkeypatch.setenv("TRANSFERBENCH_TOKENS_GIB", "0")
    with pytest.warns(UserWarning, match=r"x 16 tokens of 48 channels in float32.* made anew for each epoch: 0\.0 GiB"):
        anew = fit(vit(16), dataset, probe, 1, Bench(bench.runtime, tmp_path / "empty", tmp_path / "anew"))
    assert not (tmp_path / "empty").exists()
    assert (kept.table, kept.chosen) == (anew.table, anew.chosen)
    np.testing.assert_allclose(kept.logits, anew.logits, rtol=1e-3, atol=1e-3)
    monkeypatch.delenv("TRANSFERBENCH_TOKENS_GIB")
    half = fit(
        vit(16), dataset, probe.model_copy(update={"kept": "float16"}), 1, Bench(bench.runtime, tmp_path, tmp_path)
    )
    assert np.abs(half.logits - kept.logits).max() < 0.02 * np.abs(kept.logits).max()


@pytest.mark.parametrize("epochs", [2, 5])
def test_what_was_stopped_goes_on_to_the_same_end(epochs: int, tiny_candidate, dataset, bench, tmp_path, monkeypatch):
    """Stopped after two epochs of the choice, or after two of the head that was chosen."""
    monkeypatch.setattr(attentive_fit, "PATIENCE", 0.0)
    probe = attentive.Config(**SHARED, **GRID)
    whole = fit(tiny_candidate, dataset, probe, 1, bench)
    done: list[int] = []

    def stop(at: int, total: int) -> None:
        if (at, total) == (epochs, 6):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tiny_candidate, dataset, probe, 1, Bench(bench.runtime, bench.cache, tmp_path / "stopped", report=stop))
    note = Bench(bench.runtime, bench.cache, tmp_path / "stopped", report=lambda at, total: done.append(at))
    again = fit(tiny_candidate, dataset, probe, 1, note)
    assert done == list(range(epochs + 1, 7))
    assert (again.table, again.chosen) == (whole.table, whole.chosen)
    np.testing.assert_array_equal(again.logits, whole.logits)


def test_a_network_that_gives_a_vector_alone_does_not_fit_unless_a_layer_is_named(dataset, bench):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    plain = wrap(network, "plain", Preprocess(size=None, crop=16))
    assert "gives neither tokens nor stages" in (attentive.unfit(plain, dataset, attentive.Config()) or "")
    named = attentive.Config(**SHARED, layer="module.0", lrs=(0.1,), weight_decays=(0,))
    assert attentive.unfit(plain, dataset, named) is None
    assert scores(attentive.run(plain, dataset, named, 0, bench))["top1"] > 25


def test_a_loss_that_is_not_finite_is_told(tiny_candidate, dataset, bench):
    config = attentive.Config(**SHARED, optimizer="sgd", warmup=0, lrs=(1e30,), weight_decays=(0,))
    with pytest.raises(UserError, match=r"The training loss became .* in epoch 1. Lower the learning rate, 1e\+30"):
        attentive.run(tiny_candidate, dataset, config, 0, bench)


def test_no_room_is_a_number(monkeypatch, tiny_candidate, dataset, bench):
    monkeypatch.setenv("TRANSFERBENCH_TOKENS_GIB", "much")
    with pytest.raises(UserError, match=r"TRANSFERBENCH_TOKENS_GIB is 'much'. Expected a number of GiB"):
        fit(tiny_candidate, dataset, attentive.Config(**SHARED), 0, bench)


@pytest.mark.parametrize("preset", attentive.Config.PRESETS)
def test_every_preset_learns_digits_from_a_small_vision_transformer(preset: str, bench, cache):
    """By heart: an untrained network tells little of others."""
    images = limited(open_split("digits", "train", cache), 60, 0)
    few = {"epochs": 30, "batch_size": 32, "crops": 0, "weight_decays": (0,), "lrs": (LEARNS.get(preset, 0.3),)}
    own = {"ep": {"queries": 12}, "aim": {"layer": "last:2"}, "cae": {"optimizer": "adamw"}}.get(preset, {})
    config = attentive.Config(**{"preset": preset, **few, **own})
    assert scores(attentive.run(vit(32), Dataset(images, images), config, 0, bench))["top1"] > 50


def test_labels_say_what_is_read():
    assert attentive.label(attentive.Config()) == "attentive (capi)"
    assert attentive.label(attentive.Config(preset="ep", crops=0)) == "attentive (ep, crops=0)"
    few = attentive.label(attentive.Config(preset="ep", epochs=9))
    assert few == "efficient probe (norm=false, output_norm=batch)"
    own = attentive.Config(lrs=(0.1,), layer="last:2", norm=False, tokens="all")
    assert attentive.label(own) == "attentive (layer=last:2, norm=false, tokens=all)"
    assert attentive.label(attentive.Config(pool="efficient", lrs=(0.1,))) == "efficient probe"
    assert isinstance(attentive.Config().reading, TokenSpec)
