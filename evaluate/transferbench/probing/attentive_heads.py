"""Attention-pooled classifiers trained side by side, which differ in nothing but learning rate and weight decay."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from transferbench import optim
from transferbench.probing import attention_pooling
from transferbench.probing.attention_pooling import (
    AttentionPooling,
    BatchStatistics,
    Parameters,
    is_vector,
    normed_tokens,
)
from transferbench.settings import Settings

Setting = tuple[float, float]
"""Learning rate and weight decay."""
VALUES = 1 << 25
"""Of scores and of pooled tokens that are held at once: more settings than that take turns on a batch."""
FIRST_DECAY, SMALL = 0.9, 1e-8
"""AdamW's decay of the gradient's mean, and what is added to the root of its square."""


class HeadTraining(Settings):
    """How heads are trained. Learning rates are for 256 images, x batch_size / 256."""

    epochs: int = Field(20, ge=1, description="passes over the training images")
    batch_size: int = Field(256, ge=2, description="images of a step")
    optimizer: Literal["adamw", "sgd", "lars"] = Field("adamw", description="lars scales each tensor's rate, by trust")
    beta2: float = Field(0.95, gt=0, lt=1, description="optimizer=adamw: decay of the mean square of gradients")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD and LARS")
    trust: float = Field(0.001, gt=0, description="optimizer=lars: the share of its norm that a tensor moves by")
    warmup: float = Field(
        0.1, ge=0, lt=1, description="share of the steps over which rates rise from 0; then they fall along a cosine"
    )
    clip: float = Field(0, ge=0, description="gradients longer than this are shortened to it; 0: none is")

    def factor(self, step: int, steps: int) -> float:
        """What learning rates are multiplied by at a step of so many, counted from 0."""
        rising = round(self.warmup * steps)
        return step / rising if step < rising else optim.cosine(step - rising, steps - rising)


class AttentiveHeads:
    """Heads that start from the same weights and see the same batches: each becomes what it would become alone.

    The loss is the mean cross entropy. Decay is AdamW's, beside the gradient; of SGD and LARS it is added to it. Biases
    and weights of norms are not decayed, nor scaled by LARS.
    """

    def __init__(
        self,
        pooling: AttentionPooling,
        training: HeadTraining,
        settings: Sequence[Setting],
        first: Parameters,
        tokens: tuple[int, int],
    ) -> None:
        """`first` are the weights to begin with; `tokens` says how many an image has, and their width."""
        self.pooling, self.training = pooling, training
        device, width = first["query"].device, tokens[1]
        at_once = max(1, VALUES // (training.batch_size * pooling.heads(width) * sum(tokens)))
        parts = [settings[start : start + at_once] for start in range(0, len(settings), at_once)]
        self.parts = [_Part(part, first, width) for part in parts]
        self.tokens = BatchStatistics(1, width, device)
        self.steps = 0

    def step(self, tokens: Float[Tensor, "b n d"], labels: Int64[Tensor, "b"], factor: float) -> Float64[Tensor, "s"]:
        """One update with a batch; the loss of each head, summed over it."""
        tokens = normed_tokens(self.pooling, tokens, self.tokens, training=True)
        self.steps += 1
        return torch.cat([part.step(self, tokens, labels, factor) for part in self.parts])

    @torch.no_grad()
    def logits(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b s c"]:
        """What each head makes of tokens."""
        tokens = normed_tokens(self.pooling, tokens, self.tokens, training=False)
        found = [
            attention_pooling.logits(self.pooling, part.parameters, tokens, part.statistics, training=False)
            for part in self.parts
        ]
        return torch.cat(found, 1)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        parts = [
            {"parameters": part.parameters, "moments": part.moments, "statistics": vars(part.statistics)}
            for part in self.parts
        ]
        return {"steps": self.steps, "tokens": vars(self.tokens), "parts": parts}

    def load(self, kept: dict[str, Any]) -> None:
        """Take up a state of heads that are made alike."""
        self.steps = kept["steps"]
        vars(self.tokens).update(_placed(kept["tokens"], self.tokens.mean))
        for part, own in zip(self.parts, kept["parts"], strict=True):
            part.parameters = _placed(own["parameters"], self.tokens.mean)
            part.moments = [_placed(each, self.tokens.mean) for each in own["moments"]]
            vars(part.statistics).update(_placed(own["statistics"], self.tokens.mean))


class _Part:
    """Some of the heads, which are computed together."""

    def __init__(self, settings: Sequence[Setting], first: Parameters, width: int) -> None:
        self.parameters = {
            name: tensor.repeat(len(settings), *[1] * (tensor.ndim - 1)) for name, tensor in first.items()
        }
        self.moments = [{name: torch.zeros_like(p) for name, p in self.parameters.items()} for _ in range(2)]
        device = first["query"].device
        self.statistics = BatchStatistics(len(settings), width, device)
        self.rates, self.decays = (torch.tensor(each, device=device) for each in zip(*settings, strict=True))

    def step(
        self, heads: AttentiveHeads, tokens: Float[Tensor, "b n d"], labels: Int64[Tensor, "b"], factor: float
    ) -> Float64[Tensor, "s"]:
        leaves = {name: p.requires_grad_() for name, p in self.parameters.items()}
        with torch.enable_grad():
            found = attention_pooling.logits(heads.pooling, leaves, tokens, self.statistics, training=True)
            own = labels[:, None].expand(found.shape[:2])
            losses = F.cross_entropy(found.transpose(1, 2), own, reduction="none").sum(0)
            gradients = torch.autograd.grad(losses.sum() / len(labels), list(leaves.values()))
        self.parameters = {name: p.detach() for name, p in leaves.items()}
        if heads.training.clip:
            length = sum(each.flatten(1).square().sum(1) for each in gradients) ** 0.5
            shortened = (heads.training.clip / (length + 1e-6)).clamp(max=1)
            gradients = [each * _rows(shortened, each) for each in gradients]
        for (name, p), gradient in zip(self.parameters.items(), gradients, strict=True):
            self._update(heads, name, p, gradient, factor)
        return losses.detach().double()

    def _update(self, heads: AttentiveHeads, name: str, p: Tensor, gradient: Tensor, factor: float) -> None:
        rates, decays = _rows(self.rates * factor, p), _rows(self.decays * (not is_vector(name)), p)
        first, second, rule = self.moments[0][name], self.moments[1][name], heads.training
        if rule.optimizer == "adamw":
            p.mul_(1 - rates * decays)
            first.lerp_(gradient, 1 - FIRST_DECAY)
            second.mul_(rule.beta2).addcmul_(gradient, gradient, value=1 - rule.beta2)
            root = (second / (1 - rule.beta2**heads.steps)).sqrt_().add_(SMALL)
            p.sub_(rates / (1 - FIRST_DECAY**heads.steps) * first / root)
            return
        gradient = gradient + decays * p
        if rule.optimizer == "lars" and not is_vector(name):
            size, slope = (each.flatten(1).norm(dim=1) for each in (p, gradient))
            gradient = gradient * _rows(torch.where((size > 0) & (slope > 0), rule.trust * size / slope, 1.0), p)
        p.sub_(rates * first.mul_(rule.momentum).add_(gradient))


def _rows(values: Float[Tensor, "s"], like: Tensor) -> Tensor:
    """One value a head, over all of its tensor."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _placed(tensors: dict[str, Tensor], like: Tensor) -> dict[str, Tensor]:
    return {name: tensor.to(like.device) for name, tensor in tensors.items()}
