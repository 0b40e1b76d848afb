import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from transferbench.checkpoints import digest
from transferbench.errors import UserError
from transferbench.probing import fit as fitting
from transferbench.probing.fit import fit
from transferbench.probing.probe import Probe, Tuning, initial
from transferbench.runtime import Runtime
from transferbench.tasks import Bench

FROZEN = Probe(epochs=3, batch_size=8, schedule="cosine", lr_head=6.4)
TUNED = Tuning(epochs=3, batch_size=8, schedule="cosine", lr_head=6.4, lr_backbone=0.5)
RECIPES = pytest.mark.parametrize("recipe", [FROZEN, TUNED], ids=["frozen", "tuned"])


@pytest.fixture
def bench(tmp_path: Path, cache: Path) -> Bench:
    return Bench(Runtime(torch.device("cpu")), cache, tmp_path / "scratch")


@pytest.fixture
def splits(tiny_images):
    return tiny_images(22, split="train"), tiny_images(13, split="test")


class KilledError(Exception):
    pass


@RECIPES
def test_a_fit_killed_after_an_epoch_ends_as_if_it_had_not_been(recipe, tiny_candidate, splits, bench, tmp_path):
    def kill(done: int, total: int) -> None:
        if done == 2:
            raise KilledError

    straight = fit(tiny_candidate, *splits, recipe, 5, bench)
    mortal = dataclasses.replace(bench, scratch=tmp_path / "again", report=kill)
    with pytest.raises(KilledError):
        fit(tiny_candidate, *splits, recipe, 5, mortal)
    told = []
    resumed = fit(
        tiny_candidate, *splits, recipe, 5, dataclasses.replace(mortal, report=lambda done, total: told.append(done))
    )
    assert told == [3]
    assert resumed.curve == straight.curve
    np.testing.assert_array_equal(resumed.logits, straight.logits)


@RECIPES
def test_a_fit_killed_when_all_epochs_were_done_still_ends_alike(recipe, tiny_candidate, splits, bench):
    def kill(done: int, total: int) -> None:
        if done == total:
            raise KilledError

    with pytest.raises(KilledError):
        fit(tiny_candidate, *splits, recipe, 5, dataclasses.replace(bench, report=kill))
    resumed = fit(tiny_candidate, *splits, recipe, 5, bench)
    straight = fit(tiny_candidate, *splits, recipe, 5, bench)
    np.testing.assert_array_equal(resumed.logits, straight.logits)


def test_state_of_other_arguments_is_not_taken_up(tiny_candidate, splits, bench):
    def kill(done: int, total: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        fit(tiny_candidate, *splits, FROZEN, 5, dataclasses.replace(bench, report=kill))
    told = []
    fit(tiny_candidate, *splits, FROZEN, 6, dataclasses.replace(bench, report=lambda done, _: told.append(done)))
    assert told == [1, 2, 3]


@RECIPES
def test_the_candidate_is_never_changed(recipe, tiny_candidate, splits, bench):
    backbone = tiny_candidate.backbone
    backbone.train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    fit(tiny_candidate, *splits, recipe, 0, bench)
    assert digest(backbone.state_dict()) == tiny_candidate.digest
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    assert all(module.training for module in backbone.modules())
    assert all(parameter.grad is None for parameter in backbone.parameters())


@RECIPES
def test_the_seed_is_the_only_source_of_chance(recipe, tiny_candidate, splits, bench):
    recipe = recipe.model_copy(update={"epochs": 1})
    torch.manual_seed(0)
    first = fit(tiny_candidate, *splits, recipe, 1, bench)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    second = fit(tiny_candidate, *splits, recipe, 1, dataclasses.replace(bench, workers=2))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(first.logits, second.logits)
    assert not np.array_equal(first.logits, fit(tiny_candidate, *splits, recipe, 2, bench).logits)


@RECIPES
def test_training_helps(recipe, tiny_candidate, splits, bench):
    longer = recipe.model_copy(update={"epochs": 8})
    curve = fit(tiny_candidate, *splits, longer, 0, bench).curve
    assert curve[-1].loss < 0.7 * curve[0].loss
    assert curve[-1].test_top1 > 60


def test_tuning_differs_from_a_frozen_backbone(tiny_candidate, splits, bench):
    frozen = fit(tiny_candidate, *splits, FROZEN, 0, bench)
    assert not np.allclose(frozen.logits, fit(tiny_candidate, *splits, TUNED, 0, bench).logits)


def test_a_loss_that_is_not_finite_names_the_learning_rate(tiny_candidate, splits, bench):
    wild = TUNED.model_copy(update={"lr_head": 1e30})
    with pytest.raises(UserError, match="lr_head is 1e\\+30"):
        fit(tiny_candidate, *splits, wild, 0, bench)


@pytest.mark.parametrize(("n", "size", "processes"), [(9, 8, 1), (17, 8, 1), (16, 8, 1), (3, 256, 1), (19, 8, 2)])
def test_every_image_once_an_epoch_and_no_batch_of_one(n: int, size: int, processes: int):
    plans = fitting._plans(n, size, 3, 0, processes, False)
    assert sorted(np.concatenate([plan.indices for plan in plans]).tolist()) == list(range(n))
    assert min(len(plan.indices) for plan in plans) >= 2 * processes
    assert {plan.epoch for plan in plans} == {3}


def test_even_batches_split_over_processes():
    plans = fitting._plans(21, 8, 0, 0, 2, True)
    assert [len(plan.indices) for plan in plans] == [8, 8, 4]


def test_one_training_image_is_refused(tiny_candidate, tiny_images, bench):
    with pytest.raises(UserError, match="at least 2 images, found 1"):
        fit(tiny_candidate, tiny_images(1), tiny_images(4, split="test"), FROZEN, 0, bench)


def test_the_head_starts_from_small_normal_weights_of_the_seed():
    state = torch.random.get_rng_state()
    head = initial(200, 100, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert float(head.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert not head.bias.detach().any()
    assert torch.equal(head.weight, initial(200, 100, seed=3).weight)
    assert not torch.equal(head.weight, initial(200, 100, seed=4).weight)


def test_schedules_give_the_published_rates():
    step = Probe(epochs=100, schedule="step")
    assert [step.factor(epoch, 0, 7) for epoch in (0, 59)] == [1, 1]
    assert [step.factor(epoch, 0, 7) for epoch in (60, 79, 80, 99)] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    swav = Probe(epochs=20, schedule="step", decay_by=0.2)
    assert [swav.factor(epoch, 0, 7) for epoch in (11, 12, 16)] == pytest.approx([1, 0.2, 0.04])
    cosine = Probe(epochs=10, schedule="cosine")
    assert cosine.factor(0, 0, 4) == 1
    assert cosine.factor(5, 0, 4) == pytest.approx(0.5)
    assert cosine.factor(5, 1, 4) < 0.5
    assert Probe(epochs=10, schedule="cosine_by_epoch").factor(5, 3, 4) == pytest.approx(0.5)
    assert Probe(epochs=10, schedule="constant").factor(9, 3, 4) == 1


def test_misfitting_settings_are_refused():
    for wrong in ({"crop_scale": (0.5, 0.2)}, {"decay_at": (60, 80)}, {"batch_size": 1}, {"epochs": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Probe(**{"epochs": 1, "schedule": "step"} | wrong)


def test_a_network_in_training_is_not_folded() -> None:
    with pytest.raises(ValueError, match="bfloat16_folded is for frozen networks"):
        Tuning(epochs=1, schedule="constant", lr_backbone=0.1, precision="bfloat16_folded")
