"""Optimizers and learning rates against literal versions of the published ones (docs/methods.md#optimizers)."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from decorssl.loop import Training
from decorssl.optimizer import OptimizerSettings
from decorssl.recipe import Recipe
from transferbench.data import LabeledImages
from transferbench.runtime import Runtime

STEPS, EPOCHS = 7, 6
TOTAL = STEPS * EPOCHS


def rates(batch: int = 512, **settings: object) -> list[float]:
    optim = OptimizerSettings.model_validate({"lr": 0.4, "weight_decay": 1e-4, "decay_vectors": True, **settings})
    return [optim.rate(step, STEPS, EPOCHS, batch) for step in range(TOTAL)]


def intl(step: int) -> float:
    """INTL: lr = base (step + 1) / warm-up, then base q + 0.001 base (1 - q), q = (1 + cos(pi (s + 1) / M)) / 2."""
    base, warm = 0.4 * 512 / 256, 2 * STEPS
    if step < warm:
        return base * (step + 1) / warm
    q = 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / (TOTAL - warm)))
    return base * q + 0.001 * base * (1 - q)


def solo_learn(step: int) -> float:
    """A line from 3e-5 at step 0 to base at the last warm-up step, then half a cosine from base (its closed form)."""
    base, warm, start = 0.4 * 512 / 256, 3 * STEPS, 3e-5
    if step < warm:
        return start + step * (base - start) / (warm - 1)
    return 0.5 * base * (1 + math.cos(math.pi * (step - warm) / (TOTAL - warm)))


def hua(step: int) -> float:
    """DBN: 5 epochs from 0, cosine to 0 per step; here 2 epochs."""
    base, warm = 0.4 * 512 / 256, 2 * STEPS
    line = [base * i / (warm - 1) for i in range(warm)]
    decay = [0.5 * base * (1 + math.cos(math.pi * i / (TOTAL - warm))) for i in range(TOTAL - warm)]
    return (line + decay)[step]


def cwrgp_imagenet(step: int) -> float:
    """CW-RGP on ImageNet: cosine per epoch under a warm-up in iterations; here 9, into the second epoch."""
    base = 0.4 * 512 / 256
    return base * (step + 1) / 9 if step < 9 else base * 0.5 * (1 + math.cos(math.pi * (step // STEPS) / EPOCHS))


def small_sets(step: int) -> float:
    """CW-RGP and W-MSE: x 0.2 at epochs - 3 and epochs - 1, after 5 iterations of warm-up, whatever the batch."""
    if step < 5:
        return 0.4 * (step + 1) / 5
    epoch = step // STEPS
    return 0.4 * (0.04 if epoch >= 5 else 0.2 if epoch >= 3 else 1.0)


@pytest.mark.parametrize(
    ("settings", "published"),
    [
        ({"warmup_epochs": 2, "floor": 0.001}, intl),
        ({"warmup_epochs": 3, "warmup_start": 3e-5, "floor": 0.0}, solo_learn),
        ({"warmup_epochs": 2, "warmup_start": 0.0, "floor": 0.0}, hua),
        ({"warmup_steps": 9, "schedule": "epoch_cosine", "floor": 0.0}, cwrgp_imagenet),
        ({"warmup_steps": 5, "schedule": "drops", "drops_before_end": [3, 1], "scale_with_batch": False}, small_sets),
    ],
)
def test_rates_are_the_published_ones(settings: dict[str, object], published: Callable[[int], float]) -> None:
    assert rates(**settings) == pytest.approx([published(step) for step in range(TOTAL)], abs=1e-12)


def test_a_run_may_have_no_warm_up() -> None:
    assert rates(warmup_epochs=0, warmup_start=0.0, floor=0.0)[0] == pytest.approx(0.8)


def literal_lars(weights: list[Tensor], gradients: list[list[Tensor]], lr: float, decay: float) -> list[Tensor]:
    """solo-learn's update: eta 0.02, clipped, momentum 0.9, neither decay nor adaptation of vectors."""
    weights, buffers = [w.double().clone() for w in weights], [torch.zeros_like(w).double() for w in weights]
    for step in gradients:
        for w, g, buffer in zip(weights, step, buffers, strict=True):
            g = g.double()
            if w.ndim != 1:
                own = 0.02 * w.norm() / (g.norm() + w.norm() * decay + 1e-8)
                g = (g + decay * w) * min(float(own) / lr, 1.0)
            buffer.mul_(0.9).add_(g)
            w.sub_(lr * buffer)
    return weights


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_lars_is_solo_learns(scale: float) -> None:
    """A small gradient meets the clip, a large one does not; biases and normalization are updated as by SGD."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    start = [p.detach().clone() for p in model.parameters()]
    optimizer = OptimizerSettings(kind="lars", lr=0.3, weight_decay=1e-4, decay_vectors=False).optimizer(model)
    gradients = [[scale * torch.randn_like(p) for p in start] for _ in range(4)]
    for step in gradients:
        for p, g in zip(model.parameters(), step, strict=True):
            p.grad = g.clone()
        optimizer.step()
    for ours, wanted in zip(model.parameters(), literal_lars(start, gradients, 0.3, 1e-4), strict=True):
        torch.testing.assert_close(ours.detach().double(), wanted, rtol=1e-5, atol=1e-6)


def test_lars_adapts_without_decay_too() -> None:
    model = nn.Linear(4, 4)
    optimizer = OptimizerSettings(kind="lars", lr=1.0, weight_decay=0.0, decay_vectors=False).optimizer(model)
    before, norm = model.weight.detach().clone(), model.weight.norm().item()
    model.weight.grad, model.bias.grad = torch.full((4, 4), 50.0), torch.zeros(4)
    optimizer.step()
    assert (before - model.weight).norm().item() == pytest.approx(0.02 * norm, rel=1e-4)


@pytest.mark.parametrize(("kind", "expected"), [("adam", 4.0 - 0.01), ("adamw", 4.0 * (1 - 0.01 * 0.5))])
def test_adamw_shrinks_weights_where_adam_adds_to_their_gradient(kind: str, expected: float) -> None:
    """Of a gradient of 0 Adam's first step along the decay is a whole learning rate, AdamW's a share of the weight."""
    model = nn.Linear(2, 2, bias=False)
    nn.init.constant_(model.weight, 4.0)
    settings = {"kind": kind, "lr": 0.01, "weight_decay": 0.5, "decay_vectors": True}
    optimizer = OptimizerSettings.model_validate(settings).optimizer(model)
    model.weight.grad = torch.zeros(2, 2)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), torch.full((2, 2), expected))


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "lars"])
def test_a_constant_predictor_keeps_the_peak_while_the_rest_follows_the_schedule(kind: str) -> None:
    method = nn.ModuleDict({"predictor": nn.Linear(3, 3), "queue": nn.Linear(3, 3)})
    learner = nn.ModuleDict({"encoder": nn.Linear(3, 3), "method": method})
    settings = {"kind": kind, "lr": 0.4, "weight_decay": 0.1, "decay_vectors": False, "constant_predictor_lr": True}
    optim = OptimizerSettings.model_validate(settings)
    optimizer = optim.optimizer(learner)
    assert optim.set_rate(optimizer, TOTAL - 1, STEPS, EPOCHS, 512) == pytest.approx(0.001 * 0.8)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, p in learner.named_parameters():
        assert rate[id(p)] == pytest.approx(0.8 if "predictor" in name else 0.0008), name
        assert decay[id(p)] == (0.1 if name.endswith("weight") else 0.0)


def test_a_weight_of_the_loss_is_a_weight_of_its_gradient(
    recipe: Recipe, tiny_images: Callable[..., LabeledImages]
) -> None:
    """Without momentum and decay, half the loss at twice the rate is the same step of SGD."""
    ends = []
    for settings in ({"lr": 0.2, "loss_weight": 1.0}, {"lr": 0.4, "loss_weight": 0.5}):
        optim = recipe.optim.model_copy(update={**settings, "momentum": 0.0, "weight_decay": 0.0})
        training = Training(recipe.model_copy(update={"optim": optim}), tiny_images(8), Runtime(torch.device("cpu")))
        first = next(iter(training.steps()))
        ends.append((first.terms["loss"], training.encoder.projector[0].weight.detach().clone()))
    torch.testing.assert_close(ends[0][1], ends[1][1], rtol=1e-6, atol=1e-7)
    assert ends[0][0] == ends[1][0], "the loss is told unweighted"
