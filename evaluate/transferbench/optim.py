"""Learning-rate schedules as functions of the step, and parameter groups."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

UPDATE = 3
"""An update costs about three forward passes: one forward and two backward."""


def warmup(step: int, warmup_steps: int, start: float | None = None) -> float:
    """The factor of the base rate at one of the first `warmup_steps` steps (0-based).

    Without a `start` the share (step + 1) / warmup_steps (INTL, CW-RGP and W-MSE). With one it is a straight line from
    there at step 0 to 1 at the last warm-up step (Hua et al., solo-learn). Source: docs/methods.md#optimizers.
    """
    if start is None:
        return (step + 1) / warmup_steps
    return start + (1 - start) * step / max(1, warmup_steps - 1)


def cosine(step: int, total_steps: int, floor: float = 0.0) -> float:
    """Half a cosine from 1 at step 0 to `floor` at `total_steps`."""
    q = 0.5 * (1 + math.cos(math.pi * step / total_steps))
    return q + floor * (1 - q)


def stepwise(epoch: int, milestones: Iterable[int], factor: float) -> float:
    """`factor` to the power of how many milestones `epoch` (0-based) has reached."""
    return factor ** sum(epoch >= milestone for milestone in milestones)


def parameter_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float, decay_vectors: bool
) -> list[dict[str, Any]]:
    """All `parameters`, those of one dimension (biases, normalization) without decay unless `decay_vectors`."""
    decayed, free = [], []
    for parameter in parameters:
        (decayed if decay_vectors or parameter.ndim > 1 else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
