"""A detector's plan counts its images, sizes and regions, and its parts are those of this detector."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_training import TINY, detector, scenes
from test_training import recipe as small

from transferbench.checkpoints.load import random_control
from transferbench.data.transforms import Preprocess
from transferbench.detection import cost
from transferbench.planning import plan
from transferbench.run import DatasetCache
from transferbench.runtime import Runtime
from transferbench.suite import Job
from transferbench.tasks import Bench, detect

PARTS = cost.Parts(pixel=1e-6, region=1e-2, mask=1.5e-2, bytes_of_pixel=10.0, bytes_of_region=1000.0)
WORDS = (
    *("INPUT.MIN_SIZE_TRAIN", "(96, 128)", "INPUT.MIN_SIZE_TEST", "64", "MODEL.RPN.POST_NMS_TOPK_TEST", "20"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "16", "TEST.DETECTIONS_PER_IMAGE", "8"),
)


def test_an_image_is_counted_by_its_pixels_and_regions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cost, "_parts", lambda *anything: PARTS)
    setting = small(*WORDS)
    found = cost.of_image(detector(setting), scenes(), setting)
    area = (96**2 + 128**2) / 2
    assert found.passed == pytest.approx(area * 1e-6 + 16 * 1e-2 + 4 * (1.5e-2 - 1e-2))
    assert found.tested == pytest.approx(64**2 * 1e-6 + 20 * 1e-2 + 8 * 1.5e-2)
    assert found.held == round(area * 10 + 16 * 1000)
    assert found.read > 0
    every = small(*WORDS, "TEST.DETECTIONS_PER_IMAGE", "-1")
    assert cost.of_image(detector(every), scenes(), every).tested == pytest.approx(64**2 * 1e-6 + 20 * 2.5e-2)


def test_a_network_that_proposes_nothing_is_counted_on_the_whole_image():
    setting = small(*WORDS)
    diverged = detector(setting)
    with torch.no_grad():
        for weight in diverged.trunk.parameters():
            weight.fill_(float("nan"))
    found = cost.of_image(diverged, scenes(), setting)
    assert 0 < found.passed < found.tested * 100


def test_a_run_is_counted_by_its_iterations_its_statistics_and_its_test_images():
    setting = small("SOLVER.IMS_PER_BATCH", "4", "SOLVER.MAX_ITER", "10", "TEST.PRECISE_BN.NUM_ITER", "3")
    one = cost.Cost(read=0.1, passed=2.0, tested=5.0, held=100)
    compute, read = 2.0 * (3 * 40 + 12), 0.1 * 52
    assert cost.total(one, setting, 7, 1, 0) == (pytest.approx(compute + read + 7 * 5.1), 400)
    assert cost.total(one, setting, 7, 2, 1) == (pytest.approx((compute + 7 * 5.1) / 2), 200)
    slow = replace(one, read=100.0)
    assert cost.total(slow, setting, 0, 1, 2)[0] == pytest.approx(100.0 * 52 / 2)
    bare = small("SOLVER.IMS_PER_BATCH", "4", "SOLVER.MAX_ITER", "10", "TEST.PRECISE_BN.ENABLED", "False")
    assert cost.total(one, bare, 0, 1, 1)[0] == pytest.approx(2.0 * 120)


def test_layers_that_write_over_their_input_hold_nothing():
    layers = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.ReLU(inplace=True), torch.nn.ReLU())
    assert cost._outputs(lambda: layers(torch.zeros(1, 1, 3, 3)), layers.modules()) == 2 * (2 * 9 * 4)


def test_the_usual_image_is_the_median_of_those_with_objects():
    images = scenes(5)
    assert images.annotated is not None
    sizes = [(10, 10), (400, 400), (20, 20), (30, 30), (25, 25)]
    objects = [*images.annotated.objects[:4], ()]
    found = replace(images, annotated=replace(images.annotated, sizes=sizes, objects=objects))
    assert cost._usual(found, small()) == (sizes[:4], 3)


def test_the_plan_follows_the_recipe_and_not_the_backbones_own_size(tmp_path: Path):
    candidate = random_control(TINY, Preprocess(size=None, crop=32), 0)
    bench = Bench(Runtime(torch.device("cpu")), tmp_path / "cache", tmp_path / "scratch")

    def planned(*words: str) -> plan.Estimate:
        config = detect.Config(recipe="micro-r18-c4", overrides=words)
        (found,) = plan.forecast([Job("detect", "detect", "digit-scenes", config, 0, 16)], candidate, datasets, bench)
        return found

    datasets = DatasetCache(tmp_path)
    usual, large = planned(), planned("INPUT.MIN_SIZE_TRAIN", "(512,)", "INPUT.MAX_SIZE_TRAIN", "512")
    assert usual.images == large.images == 400 + 16
    assert large.memory > 5 * usual.memory
    assert large.seconds > usual.seconds > 0
    weights = sum(tensor.nbytes for tensor in candidate.backbone.state_dict().values())
    assert usual.memory > 4 * weights
