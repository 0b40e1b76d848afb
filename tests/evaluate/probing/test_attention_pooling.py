"""Attention-pooled heads against the authors' formulas written out in float64, and steps against torch's optimizers.

The formulas were read in apple/ml-aim bd9e068 aim-v1/aim/v1/torch/layers.py 343-394, facebookresearch/capi 98b4fa1
eval_classification.py 203-234, facebookresearch/jepa 51c59d5 src/models/attentive_pooler.py and
src/models/utils/modules.py 123-181, lxtGH/CAE d725971 models/modeling_finetune.py 141-256, 485-503, and
billpsomas/efficient-probing b8f4fb8 poolings/ep.py 28-47, probe_heads.py 106-110.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferbench.errors import UserError
from transferbench.optim import cosine
from transferbench.probing import attentive_heads
from transferbench.probing.attention_pooling import (
    AttentionPooling,
    BatchStatistics,
    first,
    is_vector,
    logits,
    normed_tokens,
)
from transferbench.probing.attentive_heads import AttentiveHeads, HeadTraining
from transferbench.tasks.attentive import Config

WIDTH, TOKENS, IMAGES, CLASSES = 12, 5, 7, 3


def small(preset: str, **changed: Any) -> Config:
    """A preset with heads and queries for a few channels."""
    return Config(**{"preset": preset, "head_width": 4} | ({"queries": 3} if preset == "ep" else {}) | changed)


def drawn(pooling: AttentionPooling, seed: int = 0) -> dict[str, Tensor]:
    """Weights with nothing left at zero or one, so that each has a part in the result."""
    draw = torch.Generator().manual_seed(seed)
    made = first(pooling, WIDTH, CLASSES, seed)
    return {name: (p + 0.3 * torch.randn(p.shape, generator=draw)).double() for name, p in made.items()}


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(IMAGES, TOKENS, WIDTH, generator=torch.Generator().manual_seed(3)).double() + 0.5


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(IMAGES) % CLASSES


def attended(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """`softmax(q k' / root of the head's width) v` for each image and head, one by one."""
    rows = []
    for image in range(len(k)):
        parts = []
        for part in torch.arange(q.shape[-1]).chunk(heads):
            scores = k[image][:, part] @ q[part] / len(part) ** 0.5
            parts.append((scores.exp() / scores.exp().sum()) @ v[image][:, part])
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def batch_norm(x: Tensor) -> Tensor:
    """Over all axes but the last, without weights."""
    rows = x.flatten(0, -2)
    return (x - rows.mean(0)) / (rows.var(0, correction=0) + 1e-6) ** 0.5


def layer_norm(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    plain = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5) ** 0.5
    return plain * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    return x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", torch.zeros(1).double())


def aim(p: dict[str, Tensor], x: Tensor) -> Tensor:
    x = batch_norm(x)
    return linear(attended(p["query"], linear(x, p, "keys"), linear(x, p, "values"), 3), p, "classifier")


def capi(p: dict[str, Tensor], x: Tensor) -> Tensor:
    keys = linear(x, p, "keys") + torch.randn(WIDTH).double()  # their bias, which changes nothing
    return linear(attended(p["query"], keys, linear(x, p, "values"), 3), p, "classifier")


def vjepa(p: dict[str, Tensor], x: Tensor) -> Tensor:
    normed = layer_norm(x, p, "value_norm")
    keys = linear(normed, p, "keys") + torch.randn(WIDTH).double()
    q = p["query"] + attended(linear(p["query"], p, "queries"), keys, linear(normed, p, "values"), 3)
    hidden = linear(layer_norm(q, p, "mlp_norm"), p, "mlp.0")
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    return linear(q + linear(hidden, p, "mlp.1"), p, "classifier")


def cae(p: dict[str, Tensor], x: Tensor) -> Tensor:
    query = linear(layer_norm(p["query"], p, "query_norm"), p, "queries")
    shift = {"key_norm.bias": torch.randn(WIDTH).double()}  # which changes nothing, as a bias of the keys
    keys = linear(layer_norm(x, p | shift, "key_norm"), p, "keys")
    values = linear(layer_norm(x, p, "value_norm"), p, "values")
    return linear(batch_norm(linear(attended(query, keys, values, 3), p, "projection")), p, "classifier")


def ep(p: dict[str, Tensor], x: Tensor) -> Tensor:
    values, rows = linear(x, p, "values"), []
    for image in range(len(x)):
        parts = []
        for query, part in zip(p["query"], torch.arange(WIDTH).chunk(3), strict=True):
            scores = x[image] @ query * WIDTH**-0.5
            parts.append((scores.exp() / scores.exp().sum()) @ values[image][:, part])
        rows.append(torch.cat(parts))
    return linear(batch_norm(torch.stack(rows)), p, "classifier")


LITERAL = {"aim": aim, "capi": capi, "vjepa": vjepa, "cae": cae, "ep": ep}


def made(pooling: AttentionPooling, p: dict[str, Tensor], x: Tensor) -> Tensor:
    """Logits of all settings while training."""
    both = [BatchStatistics(rows, WIDTH, torch.device("cpu")) for rows in (1, len(p["query"]))]
    return logits(pooling, p, normed_tokens(pooling, x, both[0], True), both[1], True)


@pytest.mark.parametrize("preset", LITERAL)
def test_logits_and_gradients_are_the_authors_for_several_settings_at_once(preset: str, tokens: Tensor, labels: Tensor):
    pooling = small(preset)
    alone = [{name: p[0].requires_grad_() for name, p in drawn(pooling, seed).items()} for seed in range(2)]
    together = {name: torch.stack([each[name].detach() for each in alone]).requires_grad_() for name in alone[0]}
    found = made(pooling, together, tokens)
    F.cross_entropy(found.flatten(0, 1), labels.repeat_interleave(2), reduction="sum").backward()
    for number, own in enumerate(alone):
        expected = LITERAL[preset](own, tokens)
        torch.testing.assert_close(found[:, number], expected, rtol=1e-9, atol=1e-9)
        F.cross_entropy(expected, labels, reduction="sum").backward()
        for name, p in own.items():
            assert p.grad is not None
            assert together[name].grad is not None
            assert preset == "cae" or p.grad.abs().max() > 1e-6, f"{name} has no part in the result"
            torch.testing.assert_close(together[name].grad[number], p.grad, rtol=1e-7, atol=1e-9)


def test_three_steps_are_those_of_torchs_attention_and_adamw(tokens: Tensor, labels: Tensor):
    pooling = AttentionPooling(head_width=4, query="projected", projection=True)
    training = HeadTraining(optimizer="adamw", beta2=0.95)
    start, settings = drawn(pooling), [(0.01, 0.3), (0.002, 0.0)]
    heads = AttentiveHeads(pooling, training, settings, start, (TOKENS, WIDTH))
    for factor in (0.5, 1.0, 0.7):
        heads.step(tokens, labels, factor)
    found = heads.parts[0].parameters
    for number, (lr, decay) in enumerate(settings):
        query = nn.Parameter(start["query"][0].clone())
        attention, head = nn.MultiheadAttention(WIDTH, 3, batch_first=True).double(), nn.Linear(WIDTH, CLASSES).double()
        with torch.no_grad():
            assert attention.in_proj_weight is not None
            attention.in_proj_weight.copy_(torch.cat([start[f"{n}.weight"][0] for n in ("queries", "keys", "values")]))
            keys = torch.zeros(WIDTH)
            attention.in_proj_bias.copy_(torch.cat([start["queries.bias"][0], keys, start["values.bias"][0]]))
            for module, name in ((attention.out_proj, "projection"), (head, "classifier")):
                module.weight.copy_(start[f"{name}.weight"][0])
                module.bias.copy_(start[f"{name}.bias"][0])
        named = [("query", query), *attention.named_parameters(), *head.named_parameters()]
        groups = [
            {"params": [p for n, p in named if n.endswith("bias") == is_bias], "weight_decay": 0 if is_bias else decay}
            for is_bias in (False, True)
        ]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
        for factor in (0.5, 1.0, 0.7):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
            optimizer.zero_grad()
            q = query.expand(IMAGES, 1, WIDTH)
            F.cross_entropy(head(attention(q, tokens, tokens)[0][:, 0]), labels).backward()
            optimizer.step()
        assert attention.in_proj_weight is not None
        expected = dict(zip(("queries", "keys", "values"), attention.in_proj_weight.chunk(3), strict=True))
        expected |= {"projection": attention.out_proj.weight, "classifier": head.weight}
        for name, weight in expected.items():
            torch.testing.assert_close(found[f"{name}.weight"][number], weight, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found["query"][number], query, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found["classifier.bias"][number], head.bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_steps_with_momentum_and_clipped_gradients_are_the_formula(optimizer: Any, tokens: Tensor, labels: Tensor):
    pooling, lr, decay, momentum, trust, clip = small("ep"), 0.3, 0.2, 0.8, 0.05, 0.1
    training = HeadTraining(optimizer=optimizer, momentum=momentum, trust=trust, clip=clip)
    heads = AttentiveHeads(pooling, training, [(lr, decay)], drawn(pooling), (TOKENS, WIDTH))
    p = {name: each[0].requires_grad_() for name, each in drawn(pooling).items()}
    moved = {name: torch.zeros_like(each) for name, each in p.items()}
    for factor in (0.5, 1.0):
        heads.step(tokens, labels, factor)
        names = list(p)
        gradients = torch.autograd.grad(F.cross_entropy(ep(p, tokens), labels), list(p.values()))
        length = sum(float((each**2).sum()) for each in gradients) ** 0.5
        assert length > clip
        for name, each in zip(names, gradients, strict=True):
            gradient = each * clip / (length + 1e-6)
            if not is_vector(name):
                gradient = gradient + decay * p[name].detach()
                scale = trust * p[name].detach().norm() / gradient.norm() if optimizer == "lars" else 1
                gradient = gradient * scale
            moved[name] = momentum * moved[name] + gradient
            p[name] = (p[name].detach() - lr * factor * moved[name]).requires_grad_()
    for name, each in p.items():
        torch.testing.assert_close(heads.parts[0].parameters[name][0], each.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("preset", LITERAL)
def test_each_of_many_heads_becomes_what_it_becomes_alone(preset: str, tokens: Tensor, labels: Tensor, monkeypatch):
    pooling, settings = small(preset), [(0.03, 0.1), (0.01, 0.0), (1e3, 0.5), (0.02, 0.2)]
    start = drawn(pooling)

    def trained(some: list[tuple[float, float]]) -> Tensor:
        heads = AttentiveHeads(pooling, pooling, some, start, (TOKENS, WIDTH))
        for step in range(4):
            heads.step(tokens, labels, pooling.factor(step, 4))
        return heads.logits(tokens)

    alone = torch.cat([trained([each]) for each in settings], 1)
    for values in (attentive_heads.VALUES, 2 * pooling.batch_size * 3 * (TOKENS + WIDTH)):
        monkeypatch.setattr(attentive_heads, "VALUES", values)
        torch.testing.assert_close(trained(settings)[:, [0, 1, 3]], alone[:, [0, 1, 3]], rtol=1e-5, atol=1e-6)


def test_batch_norm_uses_what_ran_when_it_tests_as_torchs_does():
    ours, theirs = BatchStatistics(1, WIDTH, torch.device("cpu")), nn.BatchNorm1d(WIDTH, affine=False, eps=1e-6)
    for seed in range(3):
        x = torch.randn(IMAGES, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed)) * 3 + 1
        expected = theirs(x.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(ours.normed(x[:, :, None], True)[:, :, 0], expected)
    theirs.eval()
    torch.testing.assert_close(ours.normed(x[:, :, None], False)[:, :, 0], theirs(x.transpose(1, 2)).transpose(1, 2))


def test_rates_rise_and_fall():
    training = HeadTraining(warmup=0.25)
    expected = [0, 0.5, *(cosine(step, 6) for step in range(6))]
    assert [training.factor(step, 8) for step in range(8)] == pytest.approx(expected)
    assert HeadTraining(warmup=0).factor(0, 8) == 1


def test_heads_divide_the_width_and_queries_have_to():
    assert [AttentionPooling().heads(width) for width in (16, 64, 100, 200, 384, 768)] == [1, 1, 1, 2, 6, 12]
    assert AttentionPooling(pool="efficient").heads(64) == 32
    with pytest.raises(UserError, match=r"queries=32 should divide the width of the tokens, 100.*Set queries=25"):
        AttentionPooling(pool="efficient").heads(100)
    with pytest.raises(ValueError, match="pool=efficient has queries that are learned as they are"):
        AttentionPooling(pool="efficient", token_norm="layer")
