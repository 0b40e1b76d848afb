"""MMCR with a momentum teacher, as the ImageNet runs were published.

L = w/n sum_i |Z_i|_* - |C|_*, as MMCR's, with Z_i the student's views of an image, and the row of C the mean of these
and of the teacher's.

Yerxa et al., *Learning Efficient Coding of Natural Images with Maximum Manifold Capacity Representations*, arXiv
2303.03307. Source: docs/methods.md#mmcr-m (ran the authors' code).
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from decorssl.methods import Context, Outputs, any_batch, every_view_twice, mmcr, no_modules


class Config(mmcr.Config):
    """MMCR's settings, and the teacher's."""

    momentum: float = Field(0.99, ge=0, le=1, description="of the teacher, constant")


routes = every_view_twice
modules = no_modules
check = any_batch


def momentum(context: Context) -> float:
    """The same at every step."""
    return context.config.momentum


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Over the global batch; no gradient flows through the teacher's share of a centroid."""
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        seen, taught = (
            [normalize(context.gather(z), dim=1) for z in part] for part in (outputs.student, outputs.teacher)
        )
        return mmcr.terms(seen, mmcr.mean([*seen, *taught]), context.config)
