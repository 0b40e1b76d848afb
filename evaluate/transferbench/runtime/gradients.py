"""Means of gradients over processes, for what no parallel network averages."""

from collections.abc import Iterable

import torch
from torch import nn

from transferbench.runtime import Runtime


def average_gradients(parameters: Iterable[nn.Parameter], runtime: Runtime, fill: bool = False) -> None:
    """Each gradient becomes its mean over processes, as DistributedDataParallel makes it.

    `fill` takes an absent one for 0, for networks of which processes use different parts; else it stays absent.
    """
    if runtime.world_size == 1:
        return
    for parameter in parameters:
        if parameter.grad is None and fill and parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad is not None:
            parameter.grad = runtime.total(parameter.grad) / runtime.world_size
