"""How weights are updated: the optimizer of a recipe and its learning rate as a function of the step."""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from transferbench.optim import cosine, parameter_groups, stepwise, warmup
from transferbench.settings import Settings


class OptimizerSettings(Settings):
    """How weights are updated; the learning rate is set anew every step.

    By default SGD with linear warm-up and a half cosine (INTL). `epoch_cosine` holds the rate during an epoch and
    counts the warm-up's epochs too (CW-RGP on ImageNet); `drops` multiplies it by `drop_factor` at epochs counted from
    the end (CW-RGP and W-MSE on small sets). Source: docs/methods.md#optimizers.
    """

    kind: Literal["sgd", "adam", "adamw", "lars"] = Field("sgd", description="the optimizer")
    lr: float = Field(gt=0, description="learning rate; for a batch of 256 with scale_with_batch")
    scale_with_batch: bool = Field(True, description="multiply lr by batch_size / 256")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD and LARS")
    weight_decay: float = Field(
        ge=0,
        description="added to the gradient, for Adam too; AdamW shrinks weights by it times the learning rate instead",
    )
    decay_vectors: bool = Field(
        description="weight decay and LARS's adaptation for biases and normalization parameters too"
    )
    trust_coefficient: float = Field(
        0.02,
        gt=0,
        description="LARS: trust coefficient; a tensor's rate is this times its norm over its gradient's norm",
    )
    trust_clip: bool = Field(True, description="LARS: no tensor's rate is above the learning rate")
    loss_weight: float = Field(1.0, gt=0, description="factor on the loss before its gradient is taken")
    constant_predictor_lr: bool = Field(False, description="the predictor's rate stays at lr (SimSiam)")
    warmup_epochs: float = Field(2, ge=0, description="epochs of linear warm-up")
    warmup_steps: int | None = Field(None, ge=0, description="steps of linear warm-up, instead of warmup_epochs")
    warmup_start: float | None = Field(
        None, ge=0, description="learning rate at step 0, never scaled; none: one warm-up step's share of lr"
    )
    schedule: Literal["cosine", "epoch_cosine", "drops"] = Field("cosine", description="schedule after the warm-up")
    floor: float = Field(0.001, ge=0, le=1, description="the cosine's last learning rate, as a share of the first")
    drops_before_end: tuple[int, ...] = Field((), description="epochs before the end at which the rate drops")
    drop_factor: float = Field(0.2, gt=0, le=1, description="schedule=drops: factor at each drop")

    def optimizer(self, learner: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of everything that learns; a group says whether its rate is `constant`."""
        groups = self._groups(learner)
        if self.kind == "adam":
            return torch.optim.Adam(groups, lr=self.lr)
        if self.kind == "adamw":
            return torch.optim.AdamW(groups, lr=self.lr)
        if self.kind == "sgd":
            return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum)
        from timm.optim.lars import Lars

        settings: dict[str, Any] = {"momentum": self.momentum, "trust_coeff": self.trust_coefficient}
        return Lars(groups, lr=self.lr, trust_clip=self.trust_clip, **settings)

    def set_rate(
        self, optimizer: torch.optim.Optimizer, step: int, steps_per_epoch: int, epochs: int, batch_size: int
    ) -> float:
        """Give every group of `optimizer` its learning rate for a step (0-based), and return the common one."""
        rate = self.rate(step, steps_per_epoch, epochs, batch_size)
        for group in optimizer.param_groups:
            group["lr"] = self.peak(batch_size) if group["constant"] else rate
        return rate

    def peak(self, batch_size: int) -> float:
        """The learning rate between warm-up and decay."""
        return self.lr * (batch_size / 256 if self.scale_with_batch else 1)

    def warmup_length(self, steps_per_epoch: int) -> int:
        """How many steps the warm-up takes."""
        return round(self.warmup_epochs * steps_per_epoch) if self.warmup_steps is None else self.warmup_steps

    def rate(self, step: int, steps_per_epoch: int, epochs: int, batch_size: int) -> float:
        """The learning rate of a step (0-based)."""
        peak, epoch = self.peak(batch_size), step // steps_per_epoch
        first = self.warmup_length(steps_per_epoch)
        if step < first:
            return peak * warmup(step, first, None if self.warmup_start is None else self.warmup_start / peak)
        if self.schedule == "drops":
            return peak * stepwise(epoch, [epochs - e for e in self.drops_before_end], self.drop_factor)
        if self.schedule == "epoch_cosine":
            return peak * cosine(epoch, epochs, self.floor)
        ahead = self.warmup_start is None
        return peak * cosine(step - first + ahead, max(1, epochs * steps_per_epoch - first), self.floor)

    def _groups(self, learner: nn.Module) -> list[dict[str, Any]]:
        named = list(learner.named_parameters())
        apart = [self.constant_predictor_lr and "predictor" in name.split(".") for name, _ in named]
        groups: list[dict[str, Any]] = []
        for constant in (False, True):
            part = [parameter for (_, parameter), own in zip(named, apart, strict=True) if own is constant]
            for group in parameter_groups(part, self.weight_decay, self.decay_vectors):
                adapted = self.decay_vectors or group["params"][0].ndim > 1
                groups.append(
                    {**group, "constant": constant, **({"always_adapt": adapted} if self.kind == "lars" else {})}
                )
        return groups
