"""Heads on cached features against published numbers, and against float64 loops."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from transferbench.data.loading import shuffled
from transferbench.features.extraction import FeatureSet
from transferbench.metrics import top_k_hits
from transferbench.probing import batched_heads
from transferbench.probing.batched_heads import BatchedHeads, HeadInputs, Rule
from transferbench.probing.fit import fit
from transferbench.probing.probe import Epoch, initial
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, linear, linear_fast, linear_small

GOLDEN = Path(__file__).parent / "golden"
# From index_eval.json: INTL's Adam-500 probe, top-1 and top-5 of three seeds in percent.
PUBLISHED = {
    "a": ((96.2, 96.1, 96.4), (100.0, 100.0, 100.0)),
    "b": ((97.6, 98.4, 98.0), (99.8, 99.9, 99.9)),
}
HERE = Runtime(torch.device("cpu"))


@pytest.fixture
def bench(tmp_path, cache) -> Bench:
    return Bench(HERE, cache, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_adam_500_scores_as_the_published_code(name: str, bench):
    given = np.load(GOLDEN / f"features_{name}.npz")
    train, test = (given[split].astype(np.float32) for split in ("train", "test"))
    labels, test_labels = (given[f"{split}_labels"].astype(np.int64) for split in ("train", "test"))
    config = linear_small.Config()
    seen, shown = HeadInputs.of([train], labels, int(labels.max()) + 1, HERE), FeatureSet(test, test_labels)
    setting, rule = (config.lr, config.weight_decay), linear_small.rule(config)
    fits = [batched_heads.fit(seen, shown, setting, rule, seed, bench) for seed in range(3)]
    for k, published in zip((1, 5), PUBLISHED[name], strict=True):
        found = [100 * top_k_hits(fitted.logits, test_labels, k).mean() for fitted in fits]
        assert abs(np.mean(found) - np.mean(published)) <= 0.5
    assert [fitted.curve[-1].test_top1 for fitted in fits] == pytest.approx(
        [100 * (fitted.logits.argmax(1) == test_labels).mean() for fitted in fits]
    )


def data(n: int = 53, d: int = 6, classes: int = 3):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    centers = rng.normal(size=(classes, d))
    return (centers[labels] + rng.normal(size=(n, d))).astype(np.float32), labels


def literal(rows, labels, rate: float, decay: float, rule: Rule, seed: int) -> np.ndarray:
    """Weights and bias after every update is spelled out, in float64."""
    classes = int(labels.max()) + 1
    start = initial(rows.shape[1], classes, seed)
    w, b = start.weight.detach().double().numpy().copy(), np.zeros(classes)
    first, second = [np.zeros_like(w), np.zeros_like(b)], [np.zeros_like(w), np.zeros_like(b)]
    count = 0
    for epoch in range(rule.epochs):
        plans = shuffled(len(rows), rule.batch_size, epoch, seed, drop_last=False)
        for step, plan in enumerate(plans):
            gw, gb, count = np.zeros_like(w), np.zeros_like(b), count + 1
            for i in plan.indices:
                x = rows[i].astype(np.float64)
                p = np.exp(w @ x + b) / np.exp(w @ x + b).sum()
                p[labels[i]] -= 1
                gw, gb = gw + np.outer(p, x) / len(plan.indices), gb + p / len(plan.indices)
            lr = rate * rule.factor(epoch, step, len(plans))
            for j, (value, gradient) in enumerate(((w, gw), (b, gb))):
                sizes = np.linalg.norm(value), np.linalg.norm(gradient)
                own = 1.0
                if rule.optimizer == "lars" and min(sizes) > 0:
                    own = rule.trust * sizes[0] / (sizes[1] + decay * sizes[0])
                gradient = (gradient + decay * value) * own
                if rule.optimizer == "adam":
                    first[j] = 0.9 * first[j] + 0.1 * gradient
                    second[j] = 0.999 * second[j] + 0.001 * gradient**2
                    value -= lr * (first[j] / (1 - 0.9**count)) / (np.sqrt(second[j] / (1 - 0.999**count)) + 1e-8)
                else:
                    first[j] = rule.momentum * first[j] + gradient
                    value -= lr * first[j]
    return np.concatenate([w, b[:, None]], 1)


@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adam"])
def test_each_of_many_heads_is_what_it_would_be_alone_written_out(optimizer):
    rows, labels = data()
    rule = Rule(optimizer, 4, 8, lambda epoch, step, steps: 0.7 ** (epoch + step / steps), 0.9, 0.01)
    rates = [0.05, 0.5, 0.2] if optimizer != "lars" else [5.0, 50.0, 20.0]
    decays = [0.0, 1e-2, 0.1]
    together = BatchedHeads(HeadInputs.of([rows], labels, 3, HERE), list(zip(rates, decays, strict=True)), rule, 7)
    for epoch in range(4):
        loss, top1 = together.epoch(epoch)
    for head, (rate, decay) in enumerate(zip(rates, decays, strict=True)):
        expected = literal(rows, labels, rate, decay, rule, 7)
        found = torch.cat(together.parameters, 1)[3 * head : 3 * head + 3].numpy()
        np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
        logits = rows @ expected[:, :-1].T + expected[:, -1]
        np.testing.assert_allclose(together.logits(torch.from_numpy(rows), head), logits, atol=1e-3)
        shares = together.accuracies(torch.from_numpy(rows), torch.from_numpy(labels))
        assert shares[head] == pytest.approx(100 * (logits.argmax(1) == labels).mean())
    assert loss.shape == top1.shape == (3,)


def test_the_papers_probe_is_adam_whose_rate_falls_by_an_equal_factor_each_epoch(bench):
    """In five epochs what the published code does in 500, on the features of its scores."""
    given = np.load(GOLDEN / "features_a.npz")
    rows, labels = given["train"][:120].astype(np.float32), given["train_labels"][:120].astype(np.int64)
    test, test_labels = given["test"].astype(np.float32), given["test_labels"].astype(np.int64)
    assert linear_small.Config().model_dump(exclude={"precision"}) == {
        "epochs": 500, "batch_size": 1000, "lr": 1e-2, "lr_end": 1e-6, "weight_decay": 5e-6
    }  # fmt: skip
    config = linear_small.Config(epochs=5, batch_size=50)
    seen, shown = HeadInputs.of([rows], labels, int(labels.max()) + 1, HERE), FeatureSet(test, test_labels)
    setting = (config.lr, config.weight_decay)
    fitted = batched_heads.fit(seen, shown, setting, linear_small.rule(config), 3, bench)
    falling = Rule("adam", 5, 50, lambda epoch, step, steps: (1e-6 / 1e-2) ** (epoch / 5))
    expected = literal(rows, labels, *setting, falling, 3)
    logits = test @ expected[:, :-1].T + expected[:, -1]
    np.testing.assert_allclose(fitted.logits, logits, atol=1e-3 * np.abs(logits).max())
    assert fitted.curve[-1].test_top1 == pytest.approx(100 * (fitted.logits.argmax(1) == test_labels).mean())


def test_loss_and_accuracy_of_an_epoch_are_means_over_its_images():
    rows, labels = data()
    rule = Rule("sgd", 1, 8, lambda epoch, step, steps: 1.0)
    loss, top1 = BatchedHeads(HeadInputs.of([rows], labels, 3, HERE), [(0.0, 0.0)], rule, 7).epoch(0)
    logits = rows @ initial(6, 3, 7).weight.detach().numpy().T
    own = np.log(np.exp(logits).sum(1)) - logits[range(len(rows)), labels]
    assert float(loss) == pytest.approx(own.mean(), rel=1e-5)
    assert float(top1) == pytest.approx(100 * (logits.argmax(1) == labels).mean())


@pytest.mark.parametrize("preset", ["intl", "simsiam"])
def test_with_as_many_crops_as_epochs_the_fast_probe_is_the_linear_one(preset, tiny_candidate, tiny_images, bench):
    dataset = Dataset(tiny_images(20), tiny_images(9, split="test"))
    changed = {"preset": preset, "epochs": 3, "batch_size": 8, "lr_head": 6.4 if preset == "intl" else 640}
    slow = fit(tiny_candidate, dataset.train, dataset.test, linear.Config(**changed), 4, bench)
    outcome = linear_fast.run(tiny_candidate, dataset, linear_fast.Config(**changed, crops=3), 4, bench)
    kept = np.load(outcome.artifacts["predictions"])["predictions"]
    lines = outcome.artifacts["curve"].read_text()
    assert kept.tolist() == slow.logits.argmax(1).tolist()
    for ours, theirs in zip([Epoch(**json.loads(line)) for line in lines.splitlines()], slow.curve, strict=True):
        assert dataclasses.astuple(ours) == pytest.approx(dataclasses.astuple(theirs), rel=1e-3)
    few = linear_fast.run(tiny_candidate, dataset, linear_fast.Config(**changed, crops=1), 4, bench)
    assert few.artifacts["curve"].read_text() != lines
