import json

import numpy as np
import pytest
import torch

from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, linear, semi


@pytest.fixture
def bench(tmp_path, cache) -> Bench:
    return Bench(Runtime(torch.device("cpu")), cache, tmp_path)


def test_the_published_protocols_are_the_defaults():
    assert semi.Config() == semi.Config(
        percent=10, epochs=20, batch_size=256, lr_head=0.2, lr_backbone=0.004, weight_decay=0, schedule="cosine"
    )
    assert linear.Config() == linear.Config(
        epochs=100, batch_size=256, lr_head=0.2, weight_decay=0, momentum=0.9, schedule="step"
    )
    assert linear.Config().decay_at == (0.6, 0.8)
    assert (linear.Config().crop_scale, linear.Config().flip) == ((0.08, 1.0), 0.5)


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_labels_are_drawn_class_by_class_from_the_seed(percent, tiny_images):
    train = tiny_images(80)
    part = semi.labeled(train, percent, seed=0)
    assert np.bincount(part.labels).tolist() == [max(1, 20 * percent // 100)] * 4
    assert part.fingerprint == semi.labeled(train, percent, seed=0).fingerprint
    assert list(part.names) != list(semi.labeled(train, percent, seed=1).names)
    assert part.fingerprint != semi.labeled(train, percent, seed=1).fingerprint


def test_all_labels_are_all_images(tiny_images):
    train = tiny_images(20)
    assert semi.labeled(train, 100, seed=0) is train


def test_a_published_list_takes_the_place_of_the_draw(tiny_images, tmp_path, monkeypatch):
    (tmp_path / "tiny_10percent.txt").write_text("train-3\ntrain-17\n")
    monkeypatch.setattr(semi, "SPLITS", tmp_path)
    assert list(semi.labeled(tiny_images(20), 10, seed=5).names) == ["train-3", "train-17"]
    assert len(semi.labeled(tiny_images(20), 50, seed=5)) == 8


def test_one_per_cent_of_a_small_set_trains(tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(80), tiny_images(12, split="test"))
    outcome = semi.run(tiny_candidate, dataset, semi.Config(percent=1, epochs=2), 0, bench)
    assert outcome.scores[0].metric == "top1"


@pytest.mark.parametrize("task", [linear, semi])
def test_last_and_best_epoch_say_who_chose_them(task, tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(40, classes=8), tiny_images(16, classes=8, split="test"))
    config = task.Config(epochs=4, batch_size=8, lr_head=25.6)
    outcome = task.run(tiny_candidate, dataset, config, 0, bench)
    by_name = {score.metric: score for score in outcome.scores}
    curve = [json.loads(line) for line in outcome.artifacts["curve"].read_text().splitlines()]
    assert [line["epoch"] for line in curve] == [1, 2, 3, 4]
    assert by_name["top1"].value == pytest.approx(curve[-1]["test_top1"])
    assert by_name["top1"].selected_by == "last"
    assert by_name["top1_best_epoch"].value == max(line["test_top1"] for line in curve)
    assert by_name["top1_best_epoch"].selected_by == "test"
    assert by_name["top1_best_epoch"].interval is None
    assert by_name["top5"].value >= by_name["top1"].value
    kept = np.load(outcome.artifacts["predictions"])
    assert 100 * (kept["predictions"] == kept["labels"]).mean() == pytest.approx(by_name["top1"].value)
