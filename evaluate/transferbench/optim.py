"""Learning-rate schedules as functions of the step, and parameter groups."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn


def cosine_with_warmup(step: int, total_steps: int, warmup_steps: int, floor: float) -> float:
    """The factor of the base learning rate at `step` (0-based), as INTL schedules it (spec 1.1, [code]).

    Linear to 1 over `warmup_steps`, then a half cosine from 1 down to `floor`.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps + 1) / max(1, total_steps - warmup_steps)
    q = 0.5 * (1 + math.cos(math.pi * progress))
    return q + floor * (1 - q)


def cosine(step: int, total_steps: int) -> float:
    """Half a cosine from 1 at step 0 towards 0 at `total_steps`."""
    return 0.5 * (1 + math.cos(math.pi * step / total_steps))


def stepwise(epoch: int, milestones: Iterable[int], factor: float) -> float:
    """`factor` to the power of how many milestones `epoch` (0-based) has reached."""
    return factor ** sum(epoch >= milestone for milestone in milestones)


def parameter_groups(module: nn.Module, weight_decay: float, decay_vectors: bool) -> list[dict[str, Any]]:
    """All parameters, those of one dimension (biases, normalisation) without decay unless `decay_vectors`."""
    decayed, free = [], []
    for parameter in module.parameters():
        (decayed if decay_vectors or parameter.ndim > 1 else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
