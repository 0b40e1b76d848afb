"""A plan counts the images each protocol puts through the backbone, shares features, and measures this machine."""

from pathlib import Path

import pytest
import torch

from transferbench.errors import UserError
from transferbench.neighbors import memory
from transferbench.planning import plan
from transferbench.run import DatasetCache
from transferbench.runtime import Runtime
from transferbench.suite import Job
from transferbench.tasks import TASKS, Bench, Dataset, JobCost


def config(task: str, **settings):
    return TASKS.load(task).Config(**settings)


def cost(task: str, n_train: int = 100, **settings) -> JobCost:
    return TASKS.load(task).cost(config(task, **settings), n_train, 20, 10)


def test_each_protocol_is_counted_by_what_it_does():
    assert cost("knn").splits == ("train", "test")
    assert cost("knn").products == 100 * 20
    linear = cost("linear", epochs=7)
    assert (linear.splits, linear.passes, linear.updates) == (("test",), 700, 0)
    fast = cost("linear_fast", epochs=7, crops=4)
    assert (fast.splits, fast.passes, fast.products) == (("test",), 400, linear.products)
    sweep = cost("linear_sweep", epochs=7, crops=9, lrs=(1, 2, 3), weight_decays=(0, 1))
    assert (sweep.splits, sweep.passes, sweep.products) == (("train", "test"), 700, 6 * linear.products)
    attentive = cost("attentive", epochs=7, crops=2, lrs=(1, 2), weight_decays=(0,))
    assert (attentive.splits, attentive.passes) == (("train", "test"), 200)
    assert attentive.products == 2 * cost("attentive", epochs=7, lrs=(1,), weight_decays=(0,)).products
    assert (fast.views, sweep.views, linear.views) == (400, 700, 0)
    assert (cost("knn", 1000).neighbors, cost("knn").neighbors) == (200, 100)
    semi = cost("semi", epochs=7, percent=10)
    assert (semi.splits, semi.passes, semi.updates) == ((), 7 * 20, 7 * 10)
    assert cost("linear_small", epochs=7).products == linear.products
    assert cost("logistic").products == cost("semi_logistic").products == 100 * 3 * 100 * 10
    assert cost("fewshot", layer="layer3").reading.identity == {
        "precision": "float32",
        "layer": "layer3",
        "pooling": "mean",
    }


@pytest.fixture
def shelf(tiny_images, monkeypatch) -> DatasetCache:
    found = DatasetCache(Path())

    def take(data: str, limit: int | None = None) -> Dataset:
        if data == "absent":
            raise UserError("There is none.")
        n = min(40, limit or 40)
        return Dataset(tiny_images(n), tiny_images(16, split="test"))

    monkeypatch.setattr(found, "take", take)
    return found


def job(task: str, data: str = "tiny", limit: int | None = None, **settings) -> Job:
    return Job(task, task, data, config(task, **settings), 0, limit)


def test_jobs_are_ordered_by_images_through_the_backbone(shelf):
    jobs = [job("linear", epochs=3), job("semi", epochs=2), job("knn"), job("logistic"), job("knn", "absent")]
    found = plan.ordered(jobs, shelf)
    assert [(each.task, each.data) for each in found] == [
        ("knn", "absent"),  # nothing to do
        ("semi", "tiny"),  # 2 (16 + 3 * 4) = 56, as many as 40 + 16: the first stays first
        ("knn", "tiny"),
        ("logistic", "tiny"),
        ("linear", "tiny"),
    ]


def bench(folder: Path) -> Bench:
    return Bench(Runtime(torch.device("cpu")), folder / "cache", folder / "scratch")


def test_features_are_counted_once_and_not_at_all_when_they_are_kept(shelf, tiny_candidate, tmp_path):
    jobs = [job("knn"), job("logistic"), job("fewshot", layer="layer3"), job("linear", epochs=2)]
    found = plan.forecast(jobs, tiny_candidate, shelf, bench(tmp_path))
    assert [each.images for each in found] == [56, 0, 56, 80]
    assert all(each.seconds > 0 for each in found[::2])
    assert found[3].memory > 0
    bench(tmp_path).features(tiny_candidate, shelf.take("tiny").train, "float32")
    assert [each.images for each in plan.forecast(jobs[:1], tiny_candidate, shelf, bench(tmp_path))] == [16]


def test_time_grows_with_images_and_memory_with_what_is_trained(shelf, tiny_candidate, tmp_path, monkeypatch):
    speed = plan.Speed(load=0.01, compute=0.02, multiply=0.0, outputs=1000, width=64)
    monkeypatch.setattr(plan, "measured", lambda *arguments: speed)
    one, ten, tuned = plan.forecast(
        [job("linear", epochs=1), job("linear", epochs=10), job("semi", epochs=1, percent=100, batch_size=8)],
        tiny_candidate,
        shelf,
        bench(tmp_path),
    )
    assert one.seconds == pytest.approx(0.03 * (40 + 16))
    assert ten.seconds == pytest.approx(0.03 * 400)
    assert tuned.seconds == pytest.approx(0.01 * 56 + 0.02 * (16 + 3 * 40))
    weights = sum(tensor.nbytes for tensor in tiny_candidate.backbone.state_dict().values())
    assert tuned.memory == 4 * weights + 8 * 1000


def test_a_search_leaves_features_on_disk_and_a_head_holds_them(shelf, tiny_candidate, tmp_path, monkeypatch):
    speed = plan.Speed(load=0.0, compute=0.0, multiply=0.0, outputs=0, width=2048)
    monkeypatch.setattr(plan, "measured", lambda *arguments: speed)
    jobs = [job("knn", preset="dino"), job("linear_fast", epochs=9, crops=2), job("linear_fast", epochs=9, crops=4)]
    search, two, four = plan.forecast(jobs, tiny_candidate, shelf, bench(tmp_path))
    assert four.memory - two.memory == 2 * 2 * 40 * 4 * 2048
    assert search.memory == memory(40, 16, 2048, 40) + 32 * 16 * 40
    assert memory(1_281_167, 50_000, 2048, 200) < 4 * 2**30 < 1_281_167 * 2048 * 4


def test_memory_is_for_as_many_features_as_are_taken(shelf, tiny_candidate, tmp_path):
    jobs = [job("logistic"), job("logistic", layer="last:2"), job("knn", layer="last:2")]
    output, two, search = plan.forecast(jobs, tiny_candidate, shelf, bench(tmp_path))
    assert two.memory - output.memory == 2 * 4 * 32 * (40 + 16), "layer3 has 32 features beside the 64 of layer4"
    assert [each.images for each in (output, two, search)] == [56, 56, 0]
    assert two.problem == ""
    refused = plan.forecast([job("knn", pooling="token")], tiny_candidate, shelf, bench(tmp_path))[0]
    assert "pooling=token is not possible" in refused.problem


def test_what_is_measured_is_this_backbone(shelf, tiny_candidate, tmp_path):
    found = plan.measured(tiny_candidate, shelf.take("tiny").train, bench(tmp_path))
    assert found.width == 64
    assert min(found.load, found.compute, found.multiply) > 0
    per_stage = {"stem": 8 * 256, "layer1": 8 * 256, "layer2": 16 * 64, "layer3": 32 * 16, "layer4": 64 * 4}
    assert found.outputs > 4 * sum(per_stage.values())
    assert not any(module._forward_hooks for module in tiny_candidate.backbone.modules())


def test_the_plan_is_told_cheapest_first_with_its_sum():
    estimates = [
        plan.Estimate("a", job("linear"), 1000, 7200.0, 2**30),
        plan.Estimate("a", job("knn"), 56, 3.0, 2**20),
    ]
    lines = plan.lines(estimates)
    assert [line.split()[2] for line in lines[:2]] == ["knn", "linear"]
    assert ["3 s" in lines[0], "2.0 h" in lines[1], "1,024 MiB" in lines[1]] == [True] * 3
    assert lines[2].startswith("2 job(s), about 2.0 h here")


def test_a_job_that_cannot_be_forecast_is_told_and_the_others_are_estimated(
    shelf, tiny_candidate, tmp_path, monkeypatch
):
    def broken(*arguments):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(TASKS.load("spectrum"), "cost", broken, raising=False)
    jobs = [job("spectrum"), job("knn"), job("knn", "absent")]
    assert [each.task for each in plan.ordered(jobs, shelf)] == ["spectrum", "knn", "knn"]
    problems = plan.problems_of(jobs, shelf)
    assert list(problems) == [0]
    assert problems[0].strip().endswith("ZeroDivisionError: boom")
    found = plan.forecast(jobs[:2], tiny_candidate, shelf, bench(tmp_path))
    assert [bool(each.problem) for each in found] == [True, False]
    lines = plan.lines(found)
    assert lines[1].split()[-3:] == ["failed:", "ZeroDivisionError:", "boom"]
    assert lines[2].startswith("1 job(s)")
