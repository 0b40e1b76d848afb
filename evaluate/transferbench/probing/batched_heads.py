"""Linear classifiers trained side by side on cached features: every batch is multiplied with all of them at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from transferbench import stopping
from transferbench.data.loading import shuffled
from transferbench.errors import UserError
from transferbench.features.extraction import FeatureSet
from transferbench.metrics import DIVERGED, top_k_hits
from transferbench.probing.fit import FitContext
from transferbench.probing.probe import Epoch, Fitted, Probe, initial
from transferbench.runtime import Runtime

Matrix = Float[np.ndarray, "n d"]
Setting = tuple[float, float]
"""Learning rate and weight decay."""
ADAM = (0.9, 0.999, 1e-8)
"""Decays of both moments, and what is added to the root of the second."""


@dataclass(frozen=True)
class Rule:
    """How heads are updated: `factor` of (epoch, step, steps), all from 0, multiplies every learning rate."""

    optimizer: Literal["sgd", "lars", "adam"]
    epochs: int
    batch_size: int
    factor: Callable[[int, int, int], float]
    momentum: float = 0.0
    trust: float = 0.001


@dataclass(frozen=True)
class HeadInputs:
    """What heads are trained on: features of the training images, one array a pass, which go round, and labels."""

    passes: Sequence[Float32[Tensor, "n d"]]
    labels: Int64[Tensor, "n"]
    classes: int

    @classmethod
    def of(
        cls, passes: Sequence[Matrix], labels: Int64[np.ndarray, "n"], classes: int, runtime: Runtime
    ) -> "HeadInputs":
        """The passes, which may be mapped from disk, where the process computes."""
        rows = [on_device(features, runtime) for features in passes]
        return cls(rows, torch.from_numpy(labels).to(runtime.device), classes)

    def only(self, chosen: Int64[np.ndarray, "m"]) -> "HeadInputs":
        """Some of the rows."""
        where = torch.from_numpy(chosen).to(self.labels.device)
        return HeadInputs([rows[where] for rows in self.passes], self.labels[where], self.classes)


class BatchedHeads:
    """Heads that differ in nothing but learning rate and weight decay.

    All start from the same weights and see the same batches, so that each becomes what it would become alone. The loss
    is the mean cross entropy; decay is added to the gradient.
    """

    def __init__(self, seen: HeadInputs, settings: Sequence[Setting], rule: Rule, seed: int) -> None:
        self.rule, self.seed, self.classes, self.count = rule, seed, seen.classes, len(settings)
        device = seen.labels.device
        start = initial(seen.passes[0].shape[1], seen.classes, seed)
        weight = start.weight.detach().repeat(self.count, 1).to(device)
        self.seen, self.parameters = seen, [weight, torch.zeros(len(weight), 1, device=device)]
        self.moments = [[torch.zeros_like(p) for p in self.parameters] for _ in range(2)]
        self.rates, self.decays = (
            torch.tensor(values, device=device).repeat_interleave(seen.classes)[:, None]
            for values in zip(*settings, strict=True)
        )
        self.steps = 0

    def epoch(self, number: int) -> tuple[Float[Tensor, "s"], Float[Tensor, "s"]]:
        """The pass that is due, each row once; mean loss and accuracy (percent) of every head as the batches came."""
        rows, labels = self.seen.passes[number % len(self.seen.passes)], self.seen.labels
        plans = shuffled(len(rows), self.rule.batch_size, number, self.seed, drop_last=False)
        sums = torch.zeros(2, self.count, dtype=torch.float64, device=rows.device)
        for step, plan in enumerate(plans):
            stopping.check()
            chosen = torch.from_numpy(plan.indices).to(rows.device)
            sums += self._step(rows[chosen], labels[chosen], self.rule.factor(number, step, len(plans)))
        loss, hits = sums / len(rows)
        return loss, 100 * hits

    def logits(self, rows: Float32[Tensor, "n d"], head: int = 0) -> Float32[Tensor, "n c"]:
        """What one of the heads makes of rows."""
        own = slice(head * self.classes, (head + 1) * self.classes)
        weight, bias = (p[own] for p in self.parameters)
        return torch.addmm(bias[:, 0], rows, weight.T)

    def accuracies(self, rows: Float32[Tensor, "n d"], labels: Int64[Tensor, "n"]) -> list[float]:
        """The share of rows, in percent, that each head finds the label of."""
        hits = torch.zeros(self.count, dtype=torch.float64)
        for part, own in zip(rows.split(4096), labels.split(4096), strict=True):
            hits += (self._all(part).argmax(2) == own[:, None]).double().sum(0).cpu()
        return (100 * hits / len(rows)).tolist()

    def _all(self, rows: Float32[Tensor, "b d"]) -> Float32[Tensor, "b s c"]:
        weight, bias = self.parameters
        return torch.addmm(bias[:, 0], rows, weight.T).view(len(rows), self.count, self.classes)

    def _step(self, rows: Float32[Tensor, "b d"], labels: Int64[Tensor, "b"], factor: float) -> Float64[Tensor, "2 s"]:
        """One update with a batch; loss and hits of each head, summed over it."""
        logits = self._all(rows)
        own = labels[:, None, None].expand(-1, self.count, 1)
        hits = (logits.argmax(2) == labels[:, None]).double().sum(0)
        logs = logits.log_softmax(2)
        loss = -logs.gather(2, own)[..., 0].double().sum(0)
        slope = logs.exp_().scatter_add_(2, own, -torch.ones_like(logs[..., :1])).div_(len(rows)).flatten(1)
        self.steps += 1
        # (slope' rows), since the transpose of (rows' slope) takes many times as long in some libraries.
        for i, gradient in enumerate((slope.T @ rows, slope.sum(0)[:, None])):
            self._update(i, gradient, factor)
        return torch.stack([loss, hits])

    def _update(self, i: int, gradient: Float32[Tensor, "p q"], factor: float) -> None:
        p, first, second = self.parameters[i], self.moments[0][i], self.moments[1][i]
        own_rates = self._own_rates(p, gradient) if self.rule.optimizer == "lars" else 1.0
        gradient = gradient.addcmul_(self.decays, p).mul_(own_rates)
        if self.rule.optimizer != "adam":
            first.mul_(self.rule.momentum).add_(gradient)
            p.sub_(self.rates * factor * first)
            return
        slow, slower, least = ADAM
        first.lerp_(gradient, 1 - slow)
        second.mul_(slower).addcmul_(gradient, gradient, value=1 - slower)
        root = (second / (1 - slower**self.steps)).sqrt_().add_(least)
        p.sub_(self.rates * (factor / (1 - slow**self.steps)) * first / root)

    def _own_rates(self, p: Float32[Tensor, "p q"], gradient: Float32[Tensor, "p q"]) -> Float32[Tensor, "p 1"]:
        """LARS's factor of each head's tensor (`Probe.build_optimizer` says which), for every line of it."""
        size, slope = (x.reshape(self.count, -1).norm(dim=1) for x in (p, gradient))
        decay = self.decays[:: self.classes, 0]
        rates = torch.where((size > 0) & (slope > 0), self.rule.trust * size / (slope + decay * size + 1e-8), 1.0)
        return rates.repeat_interleave(self.classes)[:, None]


def sgd(recipe: Probe) -> Rule:
    """The rule of a head trained by `recipe`."""
    return Rule(
        recipe.optimizer, recipe.epochs, recipe.batch_size, recipe.factor, momentum=recipe.momentum, trust=recipe.trust
    )


def fit(seen: HeadInputs, test: FeatureSet, setting: Setting, rule: Rule, seed: int, place: FitContext) -> Fitted:
    """One head, and how it does on the test features after each epoch.

    Every process trains the same head; the main one's is the answer.

    Raises:
        UserError: for a loss that is not finite.
    """
    heads, shown, curve = BatchedHeads(seen, [setting], rule, seed), on_device(test.features, place.runtime), []
    for number in range(rule.epochs):
        loss, train_top1 = (float(x) for x in heads.epoch(number))
        if not math.isfinite(loss):
            raise UserError(
                f"The training loss became {loss} in epoch {number + 1}. Lower the learning rate, {setting[0]}. If "
                f"that is of no use, {DIVERGED}"
            )
        hits = top_k_hits(heads.logits(shown).cpu().numpy(), test.labels, 1)
        curve.append(Epoch(number + 1, loss, train_top1, 100 * float(hits.mean())))
        if place.report is not None:
            place.report(number + 1, rule.epochs)
    return place.runtime.gather_objects(Fitted(tuple(curve), heads.logits(shown).cpu().numpy()))[0]


def on_device(features: Matrix, runtime: Runtime) -> Float32[Tensor, "n d"]:
    """Features, which may be mapped from disk, as a tensor where the process computes."""
    return torch.from_numpy(np.array(features, np.float32)).to(runtime.device)
