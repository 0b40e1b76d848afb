"""Writes lightly_*.npz and index_lightly.json: losses and gradients of the library lightly (MIT) on seeded rows.

Run in an environment of its own, `pip install torch lightly`; the suite itself does not need the library. Its SwAV
prototypes have a bias that the paper's have not, here zero; its DINO temperatures are float32.
"""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightly.loss import DINOLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss
from lightly.models.modules import BYOLPredictionHead, SimSiamPredictionHead, SwaVPrototypes
from torch import Tensor, nn
from torch.nn.functional import normalize

HERE = Path(__file__).parent
N, D, K = 32, 16, 24
"""Samples, channels, prototypes or keys."""


def rows(count: int, seed: int, d: int = D) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(N, d, dtype=torch.float64, generator=generator) for _ in range(count)]


def simclr() -> tuple[dict[str, Any], Tensor]:
    views = rows(2, 0)
    loss = NTXentLoss(temperature=0.5)
    return {"view": views}, loss(*(v.requires_grad_() for v in views))


def mocov2() -> tuple[dict[str, Any], Tensor]:
    views, keys, loss = rows(1, 1), rows(1, 2), NTXentLoss(temperature=0.2, memory_bank_size=(K, D))
    queue = normalize(torch.cat(rows(1, 3))[:K], dim=1)
    loss.memory_bank.bank = queue.clone()
    loss.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.int64)
    return {"view": views, "key": keys, "queue": [queue]}, loss(views[0].requires_grad_(), keys[0])


def predicted(head: nn.Module, stopped: bool) -> tuple[dict[str, Any], Tensor]:
    views, distance = rows(2, 4), NegativeCosineSimilarity()
    targets = [v.clone() for v in views] if stopped else rows(2, 5)
    head = head.double()
    weights = [p.detach().clone() for p in head.parameters()]
    first, second = (head(v.requires_grad_()) for v in views)
    parts = {"view": views, "target": targets, "weight": weights, "trained": list(head.parameters())}
    return parts, (distance(first, targets[1]) + distance(second, targets[0])) / 2


def byol() -> tuple[dict[str, Any], Tensor]:
    return predicted(BYOLPredictionHead(D, 2 * D, D), stopped=False)


def simsiam() -> tuple[dict[str, Any], Tensor]:
    return predicted(SimSiamPredictionHead(D, D // 2, D), stopped=True)


def swav(queued: bool = False) -> tuple[dict[str, Any], Tensor]:
    views, prototypes = rows(4, 6), SwaVPrototypes(D, K).double()
    prototypes.normalize()
    weight, bias = prototypes.parameters()
    bias.data.zero_()
    scores = [prototypes(normalize(v.requires_grad_(), dim=1)) for v in views]
    queue = [normalize(q, dim=1) for q in rows(2, 7)]
    loss = SwaVLoss()(scores[:2], scores[2:], [prototypes(q) for q in queue] if queued else None)
    parts = {"view": views, "queue": queue, "weight": [weight.detach().clone()], "trained": [weight]}
    return parts, loss.squeeze()


def swav_queue() -> tuple[dict[str, Any], Tensor]:
    return swav(queued=True)


def dino() -> tuple[dict[str, Any], Tensor]:
    views, keys = rows(4, 8), rows(2, 9)
    student, teacher = (torch.cat(rows(1, s))[:K].requires_grad_() for s in (10, 11))
    loss = DINOLoss(output_dim=K, warmup_teacher_temp=0.04, teacher_temp=0.07, warmup_teacher_temp_epochs=5).double()
    loss.center = torch.cat(rows(1, 12, K)).mean(0).view(1, 1, K)
    before = loss.center.flatten().clone()

    def outputs(z: list[Tensor], weight: Tensor) -> list[Tensor]:
        return [normalize(x, dim=1) @ normalize(weight, dim=1).T for x in z]

    taught = [t.detach() for t in outputs(keys, teacher)]
    value = loss(taught, outputs([v.requires_grad_() for v in views], student), epoch=2)
    weights = [student.detach().clone(), teacher.detach().clone()]
    centers = [before, loss.center.flatten()]
    return {"view": views, "key": keys, "weight": weights, "trained": [student], "centre": centers}, value


def write(make: Callable[[], tuple[dict[str, Any], Tensor]]) -> float:
    torch.manual_seed(0)
    parts, loss = make()
    loss.backward()
    trained = parts.pop("trained", [])
    arrays = {f"{name}{i}": x.detach().numpy() for name, tensors in parts.items() for i, x in enumerate(tensors)}
    gradients = {f"grad{i}": v.grad.numpy() for i, v in enumerate(parts["view"])}
    of_weights = {f"weight_grad{i}": p.grad.numpy() for i, p in enumerate(trained)}
    np.savez_compressed(HERE / f"lightly_{make.__name__}.npz", **arrays, **gradients, **of_weights)
    return loss.item()


if __name__ == "__main__":
    makers = [simclr, mocov2, byol, simsiam, swav, swav_queue, dino]
    index = {"lightly": version("lightly"), "torch": version("torch"), "loss": {m.__name__: write(m) for m in makers}}
    (HERE / "index_lightly.json").write_text(json.dumps(index, indent=1) + "\n")
