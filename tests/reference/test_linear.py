"""The linear and the tuned fit against a plain float64 loop written from INTL's evaluate.py."""

import copy
import math

import numpy as np
import pytest
import torch

from transferbench.data.loading import shuffled
from transferbench.data.transforms import evaluation, training
from transferbench.probing.fit import fit
from transferbench.probing.probe import Probe, Tuning
from transferbench.runtime import Runtime
from transferbench.tasks import Bench

EPOCHS, BATCH, MOMENTUM, DECAY, SEED = 5, 8, 0.9, 1e-3, 4


def view(images, index: int, epoch: int, preprocess, augmented: bool) -> torch.Tensor:
    """The image as the epoch sees it: the loader's documented generator is that of (seed, epoch, index)."""
    if not augmented:
        return evaluation(preprocess)(images.image(index), np.random.default_rng(0))[0].double()
    key = np.array([SEED, epoch << 40 | index], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    return training(preprocess, (0.08, 1.0), 0.5)(images.image(index), generator)[0].double()


def own_rate(p: torch.Tensor, g: torch.Tensor, trust: float) -> float:
    """LARC without its clip (CW-RGP's lincls.py): by the norms of the tensor and of its gradient, unless one is 0."""
    size, slope = float(p.norm()), float(g.norm())
    return trust * size / (slope + DECAY * size) if size > 0 and slope > 0 else 1.0


def literal(candidate, train, test, rates: dict[str, float], schedule: str, trust: float | None = None) -> torch.Tensor:
    """Test logits after EPOCHS of momentum SGD, each update spelled out; a backbone without a rate stays frozen."""
    preprocess = candidate.card.preprocess
    backbone = copy.deepcopy(candidate.backbone).double()
    tuned = "backbone" in rates
    weight = torch.empty(len(train.info.classes), 64)
    weight.normal_(0, 0.01, generator=torch.Generator().manual_seed(SEED))
    weight, bias = weight.double().requires_grad_(), torch.zeros(len(weight), dtype=torch.float64, requires_grad=True)
    learning = [(weight, rates["head"]), (bias, rates["head"])]
    learning += [(p, rates["backbone"]) for p in backbone.parameters()] if tuned else []
    momenta = [torch.zeros_like(p) for p, _ in learning]
    steps = math.ceil(len(train) / BATCH)
    for epoch in range(EPOCHS):
        for step, plan in enumerate(shuffled(len(train), BATCH, epoch, SEED, drop_last=False)):
            seen = torch.stack([view(train, int(i), epoch, preprocess, True) for i in plan.indices])
            backbone.train(tuned)
            logits = backbone(seen) @ weight.T + bias
            chosen = torch.log_softmax(logits, 1)[range(len(seen)), train.labels[plan.indices]]
            gradients = torch.autograd.grad(-chosen.mean(), [p for p, _ in learning])
            if schedule == "step":
                factor = 1 if epoch < 3 else 0.1 if epoch < 4 else 0.01
            elif schedule == "cosine_by_epoch":
                factor = (1 + math.cos(math.pi * epoch / EPOCHS)) / 2
            else:
                factor = (1 + math.cos(math.pi * (epoch * steps + step) / (EPOCHS * steps))) / 2
            with torch.no_grad():
                for (p, rate), m, g in zip(learning, momenta, gradients, strict=True):
                    m.mul_(MOMENTUM).add_((g + DECAY * p) * (own_rate(p, g, trust) if trust else 1.0))
                    p.sub_(rate * BATCH / 256 * factor * m)
    backbone.eval()
    with torch.no_grad():
        shown = torch.stack([view(test, i, 0, preprocess, False) for i in range(len(test))])
        return backbone(shown) @ weight.T + bias


@pytest.mark.parametrize("schedule", ["step", "cosine"])
@pytest.mark.parametrize("rates", [{"head": 3.2}, {"head": 3.2, "backbone": 0.32}], ids=["frozen", "tuned"])
def test_a_fit_is_momentum_sgd_written_out(rates, schedule, tiny_candidate, tiny_images, tmp_path):
    train, test = tiny_images(20, split="train"), tiny_images(9, split="test")
    shared = {"epochs": EPOCHS, "batch_size": BATCH, "schedule": schedule, "weight_decay": DECAY, "lr_head": 3.2}
    recipe = Tuning(**shared, lr_backbone=rates["backbone"]) if "backbone" in rates else Probe(**shared)
    bench = Bench(Runtime(torch.device("cpu")), tmp_path, tmp_path)
    found = fit(tiny_candidate, train, test, recipe, SEED, bench).logits
    expected = literal(tiny_candidate, train, test, rates, schedule).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_lars_gives_each_tensor_its_own_rate(tiny_candidate, tiny_images, tmp_path):
    train, test = tiny_images(20, split="train"), tiny_images(9, split="test")
    recipe = Probe(
        epochs=EPOCHS,
        batch_size=BATCH,
        schedule="cosine_by_epoch",
        weight_decay=DECAY,
        lr_head=320,
        optimizer="lars",
        trust=0.01,
    )
    bench = Bench(Runtime(torch.device("cpu")), tmp_path, tmp_path)
    found = fit(tiny_candidate, train, test, recipe, SEED, bench).logits
    expected = literal(tiny_candidate, train, test, {"head": 320}, "cosine_by_epoch", 0.01).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    plain = literal(tiny_candidate, train, test, {"head": 320}, "cosine_by_epoch").numpy()
    assert np.abs(plain - expected).max() > 0.1 * np.abs(expected).max()
