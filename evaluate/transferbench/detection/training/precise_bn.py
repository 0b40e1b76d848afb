"""Batch-norm statistics of the population, after training: fvcore's `update_bn_stats`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferbench.runtime import Runtime

Batch = TypeVar("Batch")


@dataclass
class Population:
    """Mean and variance over everything that passed a layer, put together from those of batches.

    Batches count by their number of samples N·H·W, their variances are made biased ones again, and the spread of their
    means is part of the variance (docs/protocols.md#precise-bn).
    """

    count: float = 0.0
    mean: Tensor | float = 0.0
    square: Tensor | float = 0.0

    def add(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Take in a batch of `count` samples with its mean and unbiased variance by channel."""
        share = count / (self.count + count)
        self.count += count
        self.mean = self.mean + (mean - self.mean) * share
        self.square = self.square + (variance * (count - 1) / count + mean.square() - self.square) * share

    @property
    def variance(self) -> Tensor:
        """The biased variance of all samples."""
        assert isinstance(self.mean, Tensor)
        return self.square - self.mean.square()


@torch.no_grad()
def settle(network: nn.Module, batches: Iterable[Batch], forward: Callable[[Batch], object], runtime: Runtime) -> None:
    """Give every batch norm in training the statistics of these batches, each passed once by `forward`; weights stay.

    With several processes every norm is a synchronized one, and counts are of all processes.

    Raises:
        RuntimeError: when a layer runs more than once or not at all in a pass, for then its statistics are of no one
            population.
    """
    layers = [each for each in network.modules() if isinstance(each, _BatchNorm) and each.training]
    if not layers:
        return
    momenta, populations = [layer.momentum for layer in layers], [Population() for _ in layers]
    counts: dict[nn.Module, list[int]] = {layer: [] for layer in layers}

    def note(layer: nn.Module, inputs: Any) -> None:
        counts[layer].append(inputs[0].numel() // inputs[0].shape[1])

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    device = next(network.parameters()).device
    try:
        for layer in layers:
            layer.momentum = 1.0
        for batch in batches:
            forward(batch)
            everywhere = torch.tensor([_once(counts[layer]) for layer in layers], dtype=torch.float64, device=device)
            totals = runtime.total(everywhere).tolist()
            for layer, population, count in zip(layers, populations, totals, strict=True):
                assert isinstance(layer.running_mean, Tensor)
                assert isinstance(layer.running_var, Tensor)
                population.add(layer.running_mean.clone(), layer.running_var.clone(), count)
                counts[layer].clear()
    finally:
        for hook in hooks:
            hook.remove()
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for layer, population in zip(layers, populations, strict=True):
        if isinstance(population.mean, Tensor):
            layer.running_mean, layer.running_var = population.mean, population.variance


def _once(counts: list[int]) -> int:
    if len(counts) != 1:
        raise RuntimeError(f"a batch norm ran {len(counts)} times in a pass; precise statistics need exactly one")
    return counts[0]
