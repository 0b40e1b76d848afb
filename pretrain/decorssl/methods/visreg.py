"""VISReg: views pulled to the mean of the global ones; centers, scales and shape of embeddings to a Gaussian's.

L = (1 - w) mean_v |Z_v - C|^2 / (n d) + w (scale + shape + center), with C the mean of the global views. Of a view with
means m_j and deviations s_j of its channels: center = mean_j m_j^2, scale = mean_j (s_j - 1)^2, and shape = the mean
over unit directions a and places i of (p_i - q_i)^2, with p the ordered <a, (z - m) / s>, s without gradient, and q_i
the i/(n + 1) quantile of the Gaussian.

Wu et al., *VISReg: Variance-Invariance-Sketching Regularization for JEPA training*, arXiv 2606.02572. Source:
docs/methods.md#visreg (ran the authors' code).
"""

import math

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.fused.sliced_wasserstein import mean_distance
from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from decorssl.sketches import directions, spread
from transferbench.settings import Settings


class Config(Settings):
    """VISReg's settings, the official ones for ImageNet and ViT-B."""

    weight: float = Field(
        0.9, ge=0, le=1, description="weight w of scale, shape and center, beside 1 - w of the invariance term"
    )
    scale_weight: float = Field(1.0, ge=0, description="weight of the scale term, how far deviations are from 1")
    shape_weight: float = Field(1.0, ge=0, description="weight of the shape term, the distance from a Gaussian")
    center_weight: float = Field(1.0, ge=0, description="weight of the center term, the squared means")
    directions: int = Field(4096, ge=1, description="random directions in a step, on each process others")
    global_views: int = Field(
        4, ge=1, description="so many views, the first ones, are global crops: all views are pulled to their mean"
    )
    eps: float = Field(1e-6, gt=0, description="added to deviations")


routes = every_view
modules = no_modules
check = any_batch


def quantiles(like: Float[Tensor, "v n d"]) -> Float[Tensor, "n"]:
    """A standard Gaussian's at 1/(n + 1), ..., n/(n + 1)."""
    n = like.shape[1]
    places = torch.arange(1, n + 1, dtype=torch.float64, device=like.device) / (n + 1)
    return torch.special.ndtri(places).to(like.dtype)


def shape(samples: Float[Tensor, "v n d"], along: Float[Tensor, "k d"]) -> Float[Tensor, ""]:
    """The mean squared distance of ordered projections from a Gaussian's quantiles, as the formula reads.

    `fused.sliced_wasserstein.mean_distance` is the same, sooner and in little memory: `loss` calls it,
    tests/reference/test_fused.py holds it to this in float64.
    """
    ordered = (samples @ along.T).sort(1).values
    return (ordered - quantiles(samples).view(1, -1, 1)).square().mean()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """The four terms over the global batch; each process looks along directions of its own."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        views = torch.stack([context.gather(z) for z in outputs.student])
        views = views.to(torch.promote_types(views.dtype, torch.float32))
        invariance = spread(views, config.global_views)
        means = views.mean(1, keepdim=True)
        centered = views - means
        deviations = centered.norm(dim=1, keepdim=True) / math.sqrt(views.shape[1]) + config.eps
        along = directions(config.directions, views, context.generator)
        scale = (deviations - 1).square().mean()
        form = mean_distance(centered / deviations.detach(), along, quantiles(views))
        center = means.square().mean()
    regularization = config.scale_weight * scale + config.shape_weight * form + config.center_weight * center
    total = (1 - config.weight) * invariance + config.weight * regularization
    return {"loss": total, "invariance": invariance, "scale": scale, "shape": form, "center": center}
