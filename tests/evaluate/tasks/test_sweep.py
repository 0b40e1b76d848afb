"""The sweep's choice is made on held-out training images, and what is reported is trained on all of them."""

import json

import numpy as np
import pytest
import torch

from transferbench.data.subsets import stratified
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, linear_fast, linear_sweep

SHARED = {"epochs": 3, "batch_size": 8, "crops": 2, "schedule": "cosine"}


@pytest.fixture
def bench(tmp_path, cache) -> Bench:
    return Bench(Runtime(torch.device("cpu")), cache, tmp_path)


def scores(outcome) -> dict[str, float]:
    return {score.metric: score.value for score in outcome.scores}


def swept(candidate, dataset, bench):
    config = linear_sweep.Config(**SHARED, lrs=(0.001, 6.4, 25), weight_decays=(0, 1), held_out=0.25)
    outcome = linear_sweep.run(candidate, dataset, config, 1, bench)
    return outcome, [json.loads(line) for line in outcome.artifacts["grid"].read_text().splitlines()]


def alone(candidate, dataset, lr: float, decay: float, bench) -> float:
    config = linear_fast.Config(**SHARED, lr_head=lr, weight_decay=decay)
    return scores(linear_fast.run(candidate, dataset, config, 1, bench))["top1"]


def test_the_best_on_held_out_images_is_trained_anew_on_all(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(48), tiny_images(20, split="test"))
    outcome, grid = swept(tiny_candidate, dataset, bench)
    assert len(grid) == 6
    best = max(grid, key=lambda line: line["held_out_top1"])
    assert best["held_out_top1"] > min(line["held_out_top1"] for line in grid)
    found = scores(outcome)
    assert (found["chosen_lr"], found["chosen_weight_decay"]) == (best["lr"], best["weight_decay"])
    assert found["top1"] == alone(tiny_candidate, dataset, best["lr"], best["weight_decay"], bench)
    assert {score.selected_by for score in outcome.scores} == {"val"}


def test_test_images_have_no_part_in_the_choice(tiny_candidate, tiny_images, bench):
    train, test = tiny_images(48), tiny_images(20, split="test")
    wrong = test.subset(np.arange(20), "wrong labels")
    object.__setattr__(wrong, "labels", (wrong.labels + 1) % 4)
    first, grid = swept(tiny_candidate, Dataset(train, test), bench)
    second, same = swept(tiny_candidate, Dataset(train, wrong), bench)
    assert grid == same
    assert scores(first)["chosen_lr"] == scores(second)["chosen_lr"]
    assert scores(first)["top1"] != scores(second)["top1"]


def test_held_out_images_are_part_of_train_and_not_trained_on(tiny_candidate, tiny_images, bench, monkeypatch):
    seen = []
    monkeypatch.setattr(linear_sweep, "BatchedHeads", lambda s, *rest: seen.append(len(s.labels)) or original(s, *rest))
    train = tiny_images(48)
    swept(tiny_candidate, Dataset(train, tiny_images(20, split="test")), bench)
    assert seen == [48 - len(stratified(train.labels, 0.25, 1)), 48]


original = linear_sweep.BatchedHeads
