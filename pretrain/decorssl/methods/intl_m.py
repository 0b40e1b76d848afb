"""INTL with a momentum teacher, as the multi-crop runs were published.

L = mean over the student's views of l(Y_i, Y_teacher) + beta TL(Y_i), with INTL's whitening Y, l, TL and beta.

Weng et al., *Modulate Your Spectrum in Self-Supervised Learning*, arXiv 2305.16789. Source:
docs/methods.md#intl-m (ran the authors' code).
"""

import math
from typing import Any

from pydantic import Field
from torch import Tensor

from decorssl.methods import Context, Outputs, Routes, any_batch, every_view, intl, no_modules


class Config(intl.Config):
    """INTL's settings, and the teacher's."""

    momentum: float = Field(0.996, ge=0, le=1, description="of the teacher at the start, rising to 1; CIFAR: 0.999")


modules = no_modules
check = any_batch


def routes(config: Any, views: int) -> Routes:
    """The teacher sees the first view alone, the student all others."""
    first, *others = every_view(config, views).student
    return Routes(tuple(others), (first,))


def momentum(context: Context) -> float:
    """1 - (1 + cos(pi step / steps)) (1 - m_0) / 2.

    The published code moves the teacher when a step begins, with the momentum of that step; the loop moves it when one
    ends. So this is the momentum of the step to come. Before the first step teacher and student are equal, and after
    the last the momentum is 1: the teacher is the same at each step's loss and at the end.
    """
    part = (context.step + 1) / context.total_steps
    return 1 - 0.5 * (1 + math.cos(math.pi * part)) * (1 - context.config.momentum)


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment of the student's views with the teacher's, and the student's trace losses.

    In one direction; the teacher's embedding is whitened too, over the global batch as the student's are.
    """
    config: Config = context.config
    (anchor,) = (context.gather(z) for z in outputs.teacher)
    alignment, trace, _ = intl.terms([context.gather(z) for z in outputs.student], anchor, config)
    weight = intl.trade_off(config, *anchor.shape)
    return {"loss": alignment + weight * trace, "alignment": alignment, "trace": trace}
