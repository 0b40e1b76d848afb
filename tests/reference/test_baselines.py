"""The methods that compare embeddings as they are, against literal float64 versions of their formulas."""

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl.memory import Queue
from decorssl.methods import Context, Outputs, Routes, byol, mocov2, simclr, simsiam
from transferbench.runtime import seeded

Array = np.ndarray
Build = Callable[..., Context]


def drawn(count: int, n: int, d: int, seed: int = 0) -> list[Array]:
    return [np.random.default_rng([seed, i]).normal(size=(n, d)) + 0.3 for i in range(count)]


def tensors(arrays: list[Array]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, arrays))


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def distance(a: Array, b: Array) -> float:
    return float(np.mean([2 - 2 * cosine(x, y) for x, y in zip(a, b, strict=True)]))


def literal_nt_xent(views: list[Array], temperature: float) -> float:
    losses = []
    for a, b in combinations(views, 2):
        rows = [z / np.linalg.norm(z) for z in (*a, *b)]
        n = len(a)
        for i, row in enumerate(rows):
            partner = (i + n) % (2 * n)
            others = [math.exp(row @ other / temperature) for j, other in enumerate(rows) if j != i]
            losses.append(-math.log(math.exp(row @ rows[partner] / temperature) / sum(others)))
    return float(np.mean(losses))


@pytest.mark.parametrize("count", [2, 3])
def test_simclr_is_the_literal_nt_xent(count: int, context: Build) -> None:
    views = drawn(count, 9, 5)
    ours = simclr.loss(Outputs(tensors(views)), context(simclr.Config(temperature=0.3)))["loss"]
    assert ours.item() == pytest.approx(literal_nt_xent(views, 0.3), rel=1e-12)


def literal_predictor(network: torch.nn.Sequential, z: Array) -> Array:
    """Linear, standardize over the batch (eps 1e-5), ReLU, Linear: one row and channel at a time."""
    first, norm, _, last = (dict(layer.named_parameters()) for layer in network)
    first, norm, last = ({k: v.detach().double().numpy() for k, v in part.items()} for part in (first, norm, last))
    hidden = np.stack([first["weight"] @ row + first.get("bias", 0) for row in z])
    columns = [(h - h.mean()) / math.sqrt(h.var() + 1e-5) for h in hidden.T]
    shifted = np.stack([c * w + b for c, w, b in zip(columns, norm["weight"], norm["bias"], strict=True)], axis=1)
    return np.stack([last["weight"] @ np.maximum(row, 0) + last["bias"] for row in shifted])


@pytest.mark.parametrize("count", [2, 3])
def test_byol_is_the_literal_formula(count: int, context: Build) -> None:
    config = byol.Config(predictor_hidden=7)
    with seeded(3):
        modules = byol.modules(5, config).double()
    online, target = drawn(count, 10, 5), drawn(count, 10, 5, seed=1)
    predicted = [literal_predictor(modules["predictor"], z) for z in online]
    pairs = list(combinations(range(count), 2))
    expected = sum(distance(predicted[i], target[j]) + distance(predicted[j], target[i]) for i, j in pairs) / len(pairs)
    outputs = Outputs(tensors(online), tensors(target))
    ours = byol.loss(outputs, context(config, modules))["loss"]
    assert ours.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("per", "expected"), [("epoch", 1 - 0.01 * 0.75), ("step", 1 - 0.01 * 0.5)])
def test_byol_momentum_rises_along_half_a_cosine(per: str, expected: float, context: Build) -> None:
    at = context(byol.Config(momentum_per=per), step=50, total_steps=100, epoch=1, epochs=3)
    assert byol.momentum(at) == pytest.approx(expected)
    assert byol.momentum(context(byol.Config(momentum_per=per))) == pytest.approx(0.99)


def test_byol_asks_every_view_of_every_other() -> None:
    routes = byol.routes(byol.Config(), 3)
    assert routes.student == routes.teacher == (0, 1, 2)


@pytest.mark.parametrize("hidden", [3, 7])
def test_simsiam_is_the_literal_formula(hidden: int, context: Build) -> None:
    config = simsiam.Config(predictor_hidden=hidden)
    with seeded(3):
        modules = simsiam.modules(5, config).double()
    assert modules["predictor"][0].bias is None
    views = drawn(2, 10, 5)
    predicted = [literal_predictor(modules["predictor"], z) for z in views]
    cosines = [[cosine(p, z) for p, z in zip(predicted[i], views[1 - i], strict=True)] for i in (0, 1)]
    ours = simsiam.loss(Outputs(tensors(views)), context(config, modules))["loss"]
    assert ours.item() == pytest.approx(-np.mean(cosines[0]) / 2 - np.mean(cosines[1]) / 2, rel=1e-10)


def test_simsiam_moves_a_view_through_its_own_prediction_alone(context: Build) -> None:
    config = simsiam.Config(predictor_hidden=3)
    modules = simsiam.modules(5, config).double()
    leaves = tuple(z.requires_grad_() for z in tensors(drawn(2, 10, 5)))
    whole = torch.autograd.grad(simsiam.loss(Outputs(leaves), context(config, modules))["loss"], leaves)
    predicted = modules["predictor"](leaves[0])
    alone = -torch.nn.functional.cosine_similarity(predicted, leaves[1].detach()).mean() / 2
    torch.testing.assert_close(whole[0], torch.autograd.grad(alone, leaves[0])[0])


def literal_info_nce(queries: Array, keys: Array, past: Array, temperature: float) -> float:
    losses = []
    for query, key in zip(queries, keys, strict=True):
        own, unit = math.exp(cosine(query, key) / temperature), query / np.linalg.norm(query)
        losses.append(-math.log(own / (own + sum(math.exp(unit @ row / temperature) for row in past))))
    return float(np.mean(losses))


def test_mocov2_is_the_literal_formula(context: Build) -> None:
    config = mocov2.Config(queue=6)
    modules = mocov2.modules(5, config).double()
    assert mocov2.routes(config, 2) == Routes((0,), (1,))
    (query,), (key,) = drawn(1, 9, 5), drawn(1, 9, 5, seed=1)
    ours = mocov2.loss(Outputs(tensors([query]), tensors([key])), context(config, modules))["loss"]
    expected = literal_info_nce(query, key, modules["queue0"].rows.numpy(), 0.2)
    assert ours.item() == pytest.approx(expected, rel=1e-10)


def test_symmetric_mocov2_has_a_queue_for_each_view(context: Build) -> None:
    config = mocov2.Config(queue=6, symmetric=True, temperature=0.1)
    modules = mocov2.modules(5, config).double()
    assert mocov2.routes(config, 2) == Routes((0, 1), (0, 1))
    queries, keys = drawn(2, 9, 5), drawn(2, 9, 5, seed=1)
    past = [modules[f"queue{i}"].rows.numpy() for i in (0, 1)]
    expected = [literal_info_nce(queries[i], keys[1 - i], past[1 - i], 0.1) for i in (0, 1)]
    ours = mocov2.loss(Outputs(tensors(queries), tensors(keys)), context(config, modules))["loss"]
    assert ours.item() == pytest.approx(np.mean(expected), rel=1e-10)


def test_mocov2_keeps_the_latest_keys_at_length_1(context: Build) -> None:
    config = mocov2.Config(queue=6)
    modules = mocov2.modules(5, config).double()
    steps = drawn(3, 4, 5)
    for keys in steps:
        mocov2.after_step(Outputs(tensors([keys]), tensors([keys])), context(config, modules))
    latest = [row / np.linalg.norm(row) for row in np.concatenate(steps)[-6:]]
    held = modules["queue0"].rows.numpy()
    assert sorted(map(tuple, held.round(12))) == sorted(map(tuple, np.stack(latest).round(12)))


@pytest.mark.parametrize(("final", "expected"), [(None, 0.99), (1.0, 0.995), (0.995, 0.9925)])
def test_mocov2_momentum_is_constant_or_half_a_cosine(final: float | None, expected: float, context: Build) -> None:
    config = mocov2.Config(momentum=0.99, final_momentum=final)
    assert mocov2.momentum(context(config, step=50, total_steps=100)) == pytest.approx(expected)


def test_a_queue_shorter_than_a_batch_keeps_its_last_rows() -> None:
    queue = Queue(3, 2)
    assert not queue.full
    queue.push(torch.arange(10.0).view(5, 2))
    assert queue.full
    assert sorted(queue.rows[:, 0].tolist()) == [4.0, 6.0, 8.0]
