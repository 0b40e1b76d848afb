"""Schedules and statistics against literal versions; a run that is stopped ends where one that is not does."""

import contextlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from transferbench import stopping
from transferbench.backbones import Architecture, build, complete
from transferbench.data import LabeledImages, open_split
from transferbench.detection import adaptation
from transferbench.detection.model.detector import Detector
from transferbench.detection.model.detector import build as detector_on
from transferbench.detection.recipe import DetectionRecipe, compatibility
from transferbench.detection.training import loop, optimization, precise_bn
from transferbench.errors import UserError
from transferbench.runtime import Runtime

TINY = complete(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125}))
QUICK = (
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "4", "SOLVER.STEPS", "(3,)", "SOLVER.WARMUP_ITERS", "2"),
    *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.RANDOM_FLIP", "horizontal", "TEST.PRECISE_BN.NUM_ITER", "3"),
)


def recipe(*more: str) -> DetectionRecipe:
    return adaptation.resolved("micro-r18-c4", [*QUICK, *compatibility.overrides(TINY), *more], None)


def scenes(n: int = 6) -> LabeledImages:
    return open_split("digit-scenes", "train", Path("no-root")).subset(np.arange(n), "test")


def detector(setting: DetectionRecipe) -> Detector:
    return detector_on(setting, build(TINY, seed=3), 3, seed=1)


def ground(folder: Path, watch=None) -> loop.Ground:
    return loop.Ground(Runtime(torch.device("cpu")), folder, "test", 0, watch)


def test_the_rate_warms_up_in_a_line_and_falls_in_steps():
    setting = recipe("SOLVER.WARMUP_ITERS", "10", "SOLVER.STEPS", "(20,30)", "SOLVER.MAX_ITER", "40")
    for i in range(40):
        expected = 0.1 ** ((i >= 20) + (i >= 30))
        if i < 10:
            expected *= 0.001 + (1 - 0.001) * i / 10
        assert optimization.factor(setting, i) == pytest.approx(expected, rel=1e-12)
    early = recipe("SOLVER.WARMUP_ITERS", "10", "SOLVER.STEPS", "(4,20)", "SOLVER.MAX_ITER", "40")
    for i in range(10):
        assert optimization.factor(early, i) == pytest.approx(0.001 * (1 - i / 10) + 0.1 * i / 10, rel=1e-12)
    constant = recipe("SOLVER.WARMUP_METHOD", "constant", "SOLVER.WARMUP_ITERS", "4")
    assert optimization.factor(constant, 2) == 0.001


def test_norms_do_not_decay_and_everything_else_does_once():
    setting = recipe()
    found = detector(setting)
    groups = optimization.build_optimizer(found, setting).param_groups
    norms = {id(p) for m in found.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert norms
    assert decay == {id(p): 0.0 if id(p) in norms else 1e-4 for p in found.parameters()}
    assert sum(len(group["params"]) for group in groups) == len(list(found.parameters()))
    biased = optimization.build_optimizer(
        found, recipe("SOLVER.BIAS_LR_FACTOR", "2.0", "SOLVER.WEIGHT_DECAY_BIAS", "0.5")
    )
    biases = {id(p) for name, p in found.named_parameters() if name.endswith("bias")}
    for group in biased.param_groups:
        for parameter in group["params"]:
            assert (group["base"] == 0.04) == (group["weight_decay"] == 0.5) == (id(parameter) in biases)


def test_another_batch_scales_rates_and_iterations():
    solver = adaptation.resolved("coco_R_50_C4_1x", (), 8).SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (8, 0.01)
    assert (solver.MAX_ITER, solver.STEPS, solver.WARMUP_ITERS) == (180000, (120000, 160000), 2000)
    assert adaptation.resolved("coco_R_50_C4_1x", (), 16) == adaptation.resolved("coco_R_50_C4_1x", (), None)


class Two(nn.Module):
    """A detector of two norms, the second on the first one's output."""

    def __init__(self, repeats: int = 1) -> None:
        super().__init__()
        self.first, self.second, self.repeats = nn.BatchNorm2d(3, momentum=0.3), nn.BatchNorm2d(3), repeats

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.repeats):
            x = self.first(x)
        return self.second(2 * x + 1)


def test_precise_statistics_are_those_of_all_samples():
    generator = torch.Generator().manual_seed(0)
    sizes = [(2, 4, 5), (3, 6, 2), (1, 3, 3)]
    batches = [torch.randn(n, 3, h, w, generator=generator) * (i + 1) + i for i, (n, h, w) in enumerate(sizes)]
    net = Two().train()
    weights = {name: p.clone() for name, p in net.named_parameters()}
    precise_bn.settle(net, batches, net, Runtime(torch.device("cpu")))
    flat = torch.cat([batch.double().transpose(0, 1).reshape(3, -1) for batch in batches], 1)
    assert net.first.running_mean is not None
    assert net.first.running_var is not None
    torch.testing.assert_close(net.first.running_mean.double(), flat.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net.first.running_var.double(), flat.var(1, unbiased=False), rtol=1e-5, atol=1e-6)
    assert net.second.running_mean is not None
    torch.testing.assert_close(net.second.running_mean, torch.ones(3), rtol=1e-4, atol=1e-4)
    assert net.first.momentum == 0.3
    assert all(torch.equal(p, weights[name]) for name, p in net.named_parameters())


def test_a_norm_that_runs_twice_has_no_one_population():
    net = Two(repeats=2).train()
    with pytest.raises(RuntimeError, match="ran 2 times"):
        precise_bn.settle(net, [torch.randn(2, 3, 4, 4)], net, Runtime(torch.device("cpu")))


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_stopped_run_ends_where_an_uninterrupted_one_does(tmp_path: Path):
    setting, images = recipe(), scenes()
    whole, stopped = detector(setting), detector(setting)
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    curve = loop.train(whole, images, setting, 0, ground(tmp_path / "a"))
    assert [line["iteration"] for line in curve] == [1, 2, 3, 4]
    assert set(curve[0]) == {
        "iteration", "lr", "loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"
    }  # fmt: skip
    assert not all(torch.equal(tensor, before[name]) for name, tensor in whole.state_dict().items())

    def interrupt(done: int) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        loop.train(stopped, images, setting, 0, ground(tmp_path / "b", interrupt))
    assert (tmp_path / "b" / "unfinished.safetensors").exists()
    seen: list[int] = []
    again = detector(setting)
    assert loop.train(again, images, setting, 0, ground(tmp_path / "b", seen.append)) == curve
    assert seen[0] > 2
    assert same(whole, again)


@pytest.mark.slow
def test_a_stop_at_every_step_in_turn_ends_where_an_uninterrupted_run_does(tmp_path: Path):
    """After each iteration, and at each batch of the precise statistics, whose pass begins anew."""
    setting, images = recipe(), scenes()
    whole, curve = detector(setting), None
    expected = loop.train(whole, images, setting, 0, ground(tmp_path / "a"))
    check, stops, steps = stopping.check, 0, [0]

    def count() -> None:
        steps[0] += 1
        if steps[0] == stops:
            signal.raise_signal(signal.SIGTERM)
        check()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopping, "check", count)
        while curve is None and stops < 40:
            stops, steps[0], again = stops + 1, 0, detector(setting)
            with contextlib.suppress(stopping.Interrupted), stopping.listening():
                curve = loop.train(again, images, setting, 0, ground(tmp_path / "b"))
    assert curve == expected
    assert stops > 2
    assert same(whole, again)


def test_a_finished_training_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    setting, images = recipe("SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()"), scenes()
    first, second = detector(setting), detector(setting)
    curve = loop.train(first, images, setting, 0, ground(tmp_path))
    monkeypatch.setattr(Detector, "losses", lambda *anything: pytest.fail("trained or settled again"))
    assert loop.train(second, images, setting, 0, ground(tmp_path)) == curve
    assert same(first, second)


def test_unfinished_work_of_another_seed_or_recipe_is_not_taken_up(tmp_path: Path):
    setting, images = recipe("SOLVER.CHECKPOINT_PERIOD", "1", "TEST.PRECISE_BN.ENABLED", "False"), scenes()

    for seed, start in ((0, 1), (1, 1), (1, 2)):
        seen: list[int] = []

        def watch(done: int, seen: list[int] = seen) -> None:
            seen.append(done)
            raise RuntimeError("killed")

        with pytest.raises(RuntimeError, match="killed"):
            loop.train(detector(setting), images, setting, seed, ground(tmp_path, watch))
        assert seen == [start]


def test_a_loss_that_explodes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    losses = {"loss_cls": torch.tensor(float("inf")), "loss_mask": torch.tensor(1.5)}
    monkeypatch.setattr(Detector, "losses", lambda *anything: losses)
    with pytest.raises(UserError, match=r"not finite in iteration 1 \(loss_cls inf, loss_mask 1.5\).*SOLVER.BASE_LR"):
        loop.train(detector(recipe()), scenes(), recipe(), 0, ground(tmp_path))


def test_too_little_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*anything: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Detector, "losses", full)
    with pytest.raises(UserError, match=r"emory with 2 images.*detect.batch_size"):
        loop.train(detector(recipe()), scenes(), recipe(), 0, ground(tmp_path))


def test_clipping_is_by_parameter():
    found = detector(recipe())
    for parameter in found.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    optimization.clip(found, recipe())
    assert all(p.grad is not None and p.grad.max() == 3 for p in found.parameters())
    optimization.clip(found, recipe("SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"))
    norms = [float(p.grad.norm()) for p in found.parameters() if p.grad is not None]
    assert norms == pytest.approx([1.0] * len(norms), rel=1e-4)
