"""How a linear classifier is trained on a backbone, and what comes out."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pydantic
import torch
from jaxtyping import Float32
from pydantic import Field
from torch import nn

from transferbench import optim
from transferbench.features.spec import FeatureSpec, LaterFeatureSpec, Precision
from transferbench.settings import Settings

Schedule = Literal["cosine", "cosine_by_epoch", "step", "constant"]


class Probe(Settings):
    """How a head is trained on random crops and flips. Learning rates are for 256 images, x batch_size / 256."""

    epochs: int = Field(ge=1, description="passes over the training images")
    batch_size: int = Field(256, ge=2, description="over all processes")
    lr_head: float = Field(0.2, gt=0, description="learning rate of the classifier, for 256 images")
    optimizer: Literal["sgd", "lars"] = Field("sgd", description="lars scales each tensor's rate, by `trust`")
    trust: float = Field(
        0.001, gt=0, description="optimizer=lars: trust coefficient, the share of its norm that a tensor moves by"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD and LARS")
    weight_decay: float = Field(0.0, ge=0, description="added to the gradient")
    schedule: Schedule = Field(description="cosine changes with every batch, the others with every epoch")
    decay_at: tuple[float, ...] = Field(
        (0.6, 0.8), description="schedule=step: fractions of the epochs after which the rate drops"
    )
    decay_by: float = Field(0.1, gt=0, lt=1, description="schedule=step: factor at each drop")
    crop_scale: tuple[float, float] = Field(
        (0.08, 1.0), description="range of the random crop's area, as a share of the image"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    precision: Precision = Field("float32", description="precision of the backbone")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Probe":
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale={self.crop_scale} must be two increasing numbers above 0 and at most 1")
        if not all(0 < part < 1 for part in self.decay_at):
            raise ValueError(f"decay_at={self.decay_at} must be fractions of the run, between 0 and 1")
        return self

    @property
    def reading(self) -> FeatureSpec:
        """What the head is trained on: the backbone's output."""
        return FeatureSpec(precision=self.precision)

    def build_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer of some groups of parameters, whose learning rates are set before each step.

        LARS is apex's LARC without its clip, as CW-RGP and SimSiam use it (docs/protocols.md#lars): the gradient with
        its decay, times trust * |p| / (|gradient| + weight_decay * |p|), or as it is where a norm is 0.
        """
        shared: dict[str, Any] = {"lr": 0.0, "momentum": self.momentum, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, **shared)
        from timm.optim.lars import Lars

        return Lars(groups, trust_coeff=self.trust, trust_clip=False, always_adapt=True, **shared)

    def factor(self, epoch: int, step: int, steps: int) -> float:
        """What the learning rates are multiplied by at a step (of `steps`) of an epoch, both counted from 0."""
        match self.schedule:
            case "cosine":
                return optim.cosine(epoch * steps + step, self.epochs * steps)
            case "cosine_by_epoch":
                return optim.cosine(epoch, self.epochs)
            case "step":
                return optim.stepwise(epoch, [round(part * self.epochs) for part in self.decay_at], self.decay_by)
            case "constant":
                return 1.0


class FrozenProbe(LaterFeatureSpec, Probe):
    """How a head is trained on features of a frozen backbone, which may be of any layer."""

    @property
    def reading(self) -> FeatureSpec:
        """What the settings say."""
        return self


class Tuning(Probe):
    """How head and backbone are trained together."""

    lr_backbone: float = Field(gt=0, description="learning rate of the backbone, for 256 images")

    @pydantic.field_validator("precision")
    @classmethod
    def _trains(cls, precision: Precision) -> Precision:
        if precision == "bfloat16_folded":
            raise ValueError("bfloat16_folded is for frozen networks: say float32, or bfloat16, which trains too")
        return precision


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curve. Accuracies in percent, the training one on augmented images as they came."""

    epoch: int
    loss: float
    train_top1: float
    test_top1: float


@dataclass(frozen=True)
class Fitted:
    """The learning curve, and the test images' logits after the last epoch."""

    curve: tuple[Epoch, ...]
    logits: Float32[np.ndarray, "n c"]

    def jsonl(self) -> str:
        """The curve, one JSON object a line."""
        return "".join(json.dumps(dataclasses.asdict(epoch)) + "\n" for epoch in self.curve)

    @property
    def best_epoch(self) -> Epoch:
        """The first epoch of the highest test accuracy."""
        return max(self.curve, key=lambda epoch: epoch.test_top1)


def initial(features: int, classes: int, seed: int) -> nn.Linear:
    """A linear classifier with weights from N(0, 0.01) and bias 0 (docs/protocols.md#linear)."""
    head = nn.Linear(features, classes, device="meta").to_empty(device="cpu")
    nn.init.normal_(head.weight, std=0.01, generator=torch.Generator().manual_seed(seed))
    nn.init.zeros_(head.bias)
    return head
