"""Zero-ICL: samples whitened over their channels, each pulled towards its other view.

L = sum_i (<a_i, b_i> / d - 1)^2, rows of A and B standardized over channels and whitened between samples,
R = (0.9 S + 0.1 I)^(-1/2) without gradient.

Zhang et al., *Zero-CL* (ICLR 2022), its instance-wise half as CW-RGP's repository has it. Source:
docs/methods.md#zero-icl.
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.methods import Context, Outputs, any_batch, no_modules, two_views
from transferbench.settings import Settings


class Config(Settings):
    """Zero-ICL's settings, as the repository fixes them."""

    shrinkage: float = Field(0.1, ge=0, le=1, description="share of the identity mixed into the covariance")
    eps: float = Field(1e-5, ge=0, description="added to its eigenvalues")


routes = two_views
modules = no_modules
check = any_batch


def whitened(z: Float[Tensor, "n d"], config: Config) -> Float[Tensor, "n d"]:
    """Samples standardized and multiplied by the inverse root R of the covariance between them.

    R takes no gradient, as there.
    """
    rows = (z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True)
    with torch.no_grad():
        sigma = rows @ rows.T / (z.shape[1] - 1)
        identity = torch.eye(len(z), dtype=z.dtype, device=z.device)
        values, vectors = torch.linalg.eigh((1 - config.shrinkage) * sigma + config.shrinkage * identity)
        root = vectors * (values + config.eps).rsqrt() @ vectors.T
    return root @ rows


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Sum over the global batch of (c_ii - 1)^2, C = (1/d) Z_1 Z_2^T of whitened views."""
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        a, b = (whitened(context.gather(z), context.config) for z in outputs.student)
        return {"loss": ((a * b).mean(1) - 1).square().sum()}
