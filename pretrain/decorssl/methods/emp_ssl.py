"""EMP-SSL: all patches of an image near their mean, and the embeddings of each patch with the largest coding rate.

L = - weight mean_(v, i) cos(z_vi, m_i) - mean_v R(Z_v), with unit rows z_vi, m_i the mean of image i's over views, and
R(Z) = 1/2 log det(I + d / (n eps) Z^T Z) the total coding rate.

Tong et al., *EMP-SSL: Towards Self-Supervised Learning in One Training Epoch*, arXiv 2304.03977. Source:
docs/methods.md#emp-ssl (ran the authors' code).
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.fused.coding_rate import coding_rate as fused_coding_rate
from decorssl.fused.units import unit_vectors
from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from transferbench.settings import Settings


class Config(Settings):
    """EMP-SSL's settings, with the published defaults."""

    invariance_weight: float = Field(200.0, ge=0, description="weight of the mean cosine of patches with their mean")
    rate_weight: float = Field(1.0, ge=0, description="weight of the total coding rate")
    eps: float = Field(0.2, ge=1e-9, description="squared distortion up to which the rate codes embeddings")


routes = every_view
modules = no_modules
check = any_batch


def coding_rate(z: Float[Tensor, "v n d"], factor: float) -> Float[Tensor, "v"]:
    """1/2 log det(I + factor Z^T Z) of each view.

    `fused.coding_rate.coding_rate` is the same, sooner and in float64: `loss` calls it, tests/reference/test_fused.py
    holds it to this.
    """
    identity = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    return torch.logdet(identity + factor * z.mT @ z) / 2


def invariance(units: Float[Tensor, "v n d"]) -> Float[Tensor, ""]:
    """The mean cosine of unit rows with their mean over views, which is that mean's length."""
    return torch.linalg.vector_norm(units.mean(0), dim=-1).mean()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Minus the weighted invariance and minus the coding rate, over the global batch."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        units = unit_vectors(torch.stack([context.gather(z) for z in outputs.student]))
        _, n, d = units.shape
        similarity = invariance(units)
        rate = fused_coding_rate(units, d / (n * config.eps)).mean()
    total = -config.invariance_weight * similarity - config.rate_weight * rate
    return {"loss": total, "invariance": similarity, "coding_rate": rate}
