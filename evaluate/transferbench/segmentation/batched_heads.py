"""Linear heads on maps of features, trained side by side: they differ in nothing but their learning rate.

A head is a batch norm, where there is one, and a linear layer for each place; its logits are enlarged to the pixels.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Float64, Int64
from pydantic import Field
from torch import Tensor

from transferbench.data.label_maps import UNCOUNTED
from transferbench.settings import Settings

EPS, MOMENTUM = 1e-5, 0.1
"""Of batch normalization: torch's."""
BETAS, ADAM_EPS = (0.9, 0.999), 1e-8
"""Of AdamW: torch's."""
AT_ONCE = 1 << 24
"""Logits of pixels that are held at once in training, several times over: 64 MiB each."""
DEVIATION = 0.01
"""Of first weights (docs/protocols.md#segment-linear)."""


class HeadRecipe(Settings):
    """What a head is and how it is trained, but for its learning rate and for how long."""

    batch_norm: bool = Field(True, description="features are batch normalized in front of the linear layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of channels left out of each training map")
    enlarge: Literal["bilinear", "nearest"] = Field("bilinear", description="how logits are enlarged to pixels")
    trained_at: Literal["pixels", "places", "majority"] = Field(
        "pixels",
        description="pixels: logits are enlarged to the label map; places: the label map shrinks to the features' "
        "places by `resize_masks`; majority: each place is of the class that most of its pixels are",
    )
    loss_over: Literal["counted", "all"] = Field(
        "counted", description="the loss's mean: over pixels that have a class, or divided by the number of all"
    )
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="adamw decays apart from the gradient")
    momentum: float = Field(0.9, ge=0, lt=1, description="optimizer=sgd: momentum")
    weight_decay: float = Field(1e-4, ge=0, description="of all parameters, those of the batch norm too")


@dataclass
class Heads:
    """The heads' parameters, the first axis over heads, and what their updates and statistics depend on."""

    recipe: HeadRecipe
    weight: Float[Tensor, "s c d"]
    bias: Float[Tensor, "s c"]
    gamma: Float[Tensor, "s d"]
    beta: Float[Tensor, "s d"]
    moments: list[list[Tensor]]
    mean: Float[Tensor, "d"]
    variance: Float[Tensor, "d"]
    steps: int = 0

    @classmethod
    def first(
        cls, recipe: HeadRecipe, count: int, classes: int, width: int, seed: int, device: torch.device
    ) -> "Heads":
        """`count` heads that all start from the same weights, N(0, 0.01), and bias 0."""
        start = torch.randn(classes, width, generator=torch.Generator().manual_seed(seed)) * DEVIATION
        weight = start.expand(count, -1, -1).contiguous().to(device)
        bias, gamma, beta = (
            weight.new_zeros(count, classes),
            weight.new_ones(count, width),
            weight.new_zeros(count, width),
        )
        moments = [[torch.zeros_like(p) for p in (weight, bias, gamma, beta)] for _ in range(2)]
        return cls(recipe, weight, bias, gamma, beta, moments, weight.new_zeros(width), weight.new_ones(width))

    @property
    def parameters(self) -> list[Tensor]:
        """All that is learned."""
        return [self.weight, self.bias, self.gamma, self.beta]

    def state(self) -> dict[str, object]:
        """All that the next step depends on."""
        still = {"mean": self.mean, "variance": self.variance, "steps": self.steps}
        return {"parameters": self.parameters, "moments": self.moments, **still}

    def restore(self, state: dict[str, object]) -> None:
        """Take up what `state` gave."""
        for own, kept in zip(self._tensors(self.state()), self._tensors(state), strict=True):
            own.copy_(kept)
        self.steps = int(str(state["steps"]))

    def digest(self) -> str:
        """A sha256 of all that logits depend on."""
        tensors = [*self.parameters, self.mean, self.variance]
        return hashlib.sha256(b"".join(each.cpu().numpy().tobytes() for each in tensors)).hexdigest()

    def finite(self) -> list[bool]:
        """Which heads hold finite numbers alone."""
        each = [parameter.isfinite().flatten(1).all(1) for parameter in self.parameters]
        return torch.stack(each).all(0).tolist()

    def only(self, head: int) -> "Heads":
        """One of the heads, as it stands."""
        weight, bias, gamma, beta = (p[head : head + 1] for p in self.parameters)
        moments = [[p[head : head + 1] for p in group] for group in self.moments]
        return Heads(self.recipe, weight, bias, gamma, beta, moments, self.mean, self.variance, self.steps)

    def logits(
        self, maps: Float[Tensor, "b d r c"], head: int, classes: slice = slice(None)
    ) -> Float[Tensor, "b k r c"]:
        """What a trained head makes of maps, of some of the classes."""
        weight, bias = self.weight[head, classes], self.bias[head, classes]
        if self.recipe.batch_norm:
            scale = self.gamma[head] * (self.variance + EPS).rsqrt()
            bias = bias + weight @ (self.beta[head] - self.mean * scale)
            weight = weight * scale
        return torch.einsum("kd,bdrc->bkrc", weight, maps) + bias[:, None, None]

    def step(self, maps: Float[Tensor, "b d r c"], targets: "Targets", rates: Sequence[float]) -> Float64[Tensor, "s"]:
        """One update with a batch, at each head's own rate; every head's loss before it.

        Args:
            maps: features of this process's images, with channels left out already.
            targets: their labels, and how to sum over processes.
            rates: the learning rate of each head.
        """
        rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        rows = self._normalized(rows, targets.total) if self.recipe.batch_norm else rows
        losses, slopes = self._slopes(rows, maps.shape, targets)
        self._update(self._gradients(rows, slopes, targets.total), rates)
        return losses

    def _normalized(self, rows: Float[Tensor, "n d"], total: Callable[[Tensor], Tensor]) -> Float[Tensor, "n d"]:
        """By the statistics of the places of all processes' images; what is kept of them for tests follows."""
        count = total(torch.tensor(float(len(rows)), dtype=torch.float64, device=rows.device))
        mean = total(rows.sum(0, dtype=torch.float64)) / count
        variance = total((rows - mean).square().sum(0, dtype=torch.float64)) / count
        self.mean.lerp_(mean.to(rows.dtype), MOMENTUM)
        self.variance.lerp_((variance * count / (count - 1).clamp(min=1)).to(rows.dtype), MOMENTUM)
        return (rows - mean.to(rows.dtype)) * (variance.to(rows.dtype) + EPS).rsqrt()

    def _slopes(
        self, rows: Float[Tensor, "n d"], shape: torch.Size, targets: "Targets"
    ) -> tuple[Float64[Tensor, "s"], Iterator[Float[Tensor, "n c"]]]:
        """Each head's loss, and its derivative by the logits of each place; a head and a few images at a time."""
        weight = self.weight * self.gamma[:, None] if self.recipe.batch_norm else self.weight
        shift = torch.einsum("scd,sd->sc", self.weight, self.beta) if self.recipe.batch_norm else 0.0
        bias = self.bias + shift
        losses, slopes = [], []
        for head in range(len(weight)):
            logits = torch.addmm(bias[head], rows, weight[head].T)
            logits = logits.view(shape[0], shape[2], shape[3], -1).permute(0, 3, 1, 2)
            parts = [targets.slope(logits[some], some) for some in targets.parts(logits.shape[1])]
            losses.append(torch.stack([loss for loss, _ in parts]).sum())
            slopes.append(torch.cat([slope for _, slope in parts]).permute(0, 2, 3, 1).reshape(len(rows), -1))
        return targets.total(torch.stack(losses)), iter(slopes)

    def _gradients(
        self, rows: Float[Tensor, "n d"], slopes: Iterator[Float[Tensor, "n c"]], total: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """Of weight, bias, gamma and beta: logits are weight (gamma rows + beta) + bias."""
        pairs = [(slope.T @ rows, slope.sum(0)) for slope in slopes]
        by_weight, by_bias = (total(torch.stack(each)) for each in zip(*pairs, strict=True))
        if not self.recipe.batch_norm:
            return [by_weight, by_bias]
        gamma = (self.weight * by_weight).sum(1)
        beta = torch.einsum("scd,sc->sd", self.weight, by_bias)
        return [by_weight * self.gamma[:, None] + by_bias[..., None] * self.beta[:, None], by_bias, gamma, beta]

    def _update(self, gradients: list[Tensor], rates: Sequence[float]) -> None:
        """AdamW's or SGD's step, as torch's optimizers take it."""
        self.steps += 1
        decay, (slow, slower) = self.recipe.weight_decay, BETAS
        for i, gradient in enumerate(gradients):
            p, first, second = self.parameters[i], self.moments[0][i], self.moments[1][i]
            rate = torch.tensor(rates, dtype=p.dtype, device=p.device).view(-1, *[1] * (p.ndim - 1))
            if self.recipe.optimizer == "sgd":
                first.mul_(self.recipe.momentum).add_(gradient.add(p, alpha=decay))
                p.sub_(rate * first)
                continue
            p.mul_(1 - rate * decay)
            first.lerp_(gradient, 1 - slow)
            second.mul_(slower).addcmul_(gradient, gradient, value=1 - slower)
            root = (second / (1 - slower**self.steps)).sqrt_().add_(ADAM_EPS)
            p.sub_(rate / (1 - slow**self.steps) * first / root)

    def _tensors(self, state: dict[str, object]) -> Iterator[Tensor]:
        parameters, moments = state["parameters"], state["moments"]
        assert isinstance(parameters, list)
        assert isinstance(moments, list)
        for each in (*parameters, *moments[0], *moments[1], state["mean"], state["variance"]):
            assert isinstance(each, Tensor)
            yield each


@dataclass(frozen=True)
class Targets:
    """Labels of a batch's images, as many pixels as the loss looks at, and over how many of all processes it is."""

    labels: Int64[Tensor, "b h w"]
    over: float
    enlarge: Literal["bilinear", "nearest"]
    total: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, labels: Int64[Tensor, "b h w"], recipe: HeadRecipe, total: Callable[[Tensor], Tensor]) -> "Targets":
        """What the loss of a batch is taken over."""
        counted = (labels != UNCOUNTED).sum() if recipe.loss_over == "counted" else torch.tensor(labels.numel())
        over = float(total(counted.to(labels.device, torch.float64)))
        return cls(labels, max(over, 1.0), recipe.enlarge, total)

    def parts(self, classes: int) -> list[slice]:
        """The images, as many at a time as have few enough logits."""
        count, height, width = self.labels.shape
        few = max(1, AT_ONCE // (classes * height * width))
        return [slice(first, first + few) for first in range(0, count, few)]

    def slope(
        self, logits: Float[Tensor, "b c r q"], images: slice
    ) -> tuple[Float64[Tensor, ""], Float[Tensor, "b c r q"]]:
        """The part that some images have in the loss, and its derivative."""
        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            enlarged = enlarge(logits, self.labels.shape[1:], self.enlarge)
            target = self.labels[images]
            loss = F.cross_entropy(enlarged, target, ignore_index=UNCOUNTED, reduction="sum") / self.over
            (slope,) = torch.autograd.grad(loss, logits)
        return loss.detach().double(), slope


def enlarge(logits: Float[Tensor, "b k r c"], size: Sequence[int], how: str) -> Float[Tensor, "b k h w"]:
    """Logits of places as those of pixels, the corners of both images on each other."""
    if tuple(logits.shape[2:]) == tuple(size):
        return logits
    corners = {"align_corners": False} if how == "bilinear" else {}
    return F.interpolate(logits, size=tuple(size), mode="bilinear" if how == "bilinear" else "nearest-exact", **corners)


def without_channels(
    maps: Float32[Tensor, "b d r c"], recipe: HeadRecipe, seed: int, place: tuple[int, int] = (0, 1)
) -> Float32[Tensor, "b d r c"]:
    """Maps with some of each one's channels set to 0 and the others grown to make up for them.

    Which is drawn for the batch of all processes; `place` is (rank, processes).
    """
    if not recipe.dropout:
        return maps
    draw, (rank, processes) = torch.Generator().manual_seed(seed), place
    kept = (
        torch.rand((len(maps) + 1) * processes, maps.shape[1], generator=draw)[rank::processes][: len(maps)]
        >= recipe.dropout
    )
    return maps * kept.to(maps)[:, :, None, None] / (1 - recipe.dropout)
