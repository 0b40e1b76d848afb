"""LeJEPA: views pulled to the mean of the global ones, embeddings to an isotropic Gaussian along random directions.

L = (1 - w) mean_v |Z_v - C|^2 / (n d) + w SIGReg, with C the mean of the global views and SIGReg the mean, over views
and over unit directions a, of the integral from -t_max to t_max of n |mean_i exp(i t <a, z_i>) - exp(-t^2/2)|^2
exp(-t^2/2) dt, by the trapezoidal rule.

Balestriero and LeCun, *LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics*, arXiv
2511.08544. Source: docs/methods.md#lejepa (ran the authors' code).
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.fused.epps_pulley import mean_statistic
from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from decorssl.sketches import directions, spread
from transferbench.settings import Settings


class Config(Settings):
    """LeJEPA's settings."""

    weight: float = Field(
        0.02, ge=0, le=1, description="weight w of SIGReg, beside 1 - w of the invariance term (published: 0.01 to 0.1)"
    )
    directions: int = Field(1024, ge=1, description="random directions in a step")
    knots: int = Field(17, ge=2, description="frequencies from 0 to max_frequency at which the integrand is taken")
    max_frequency: float = Field(3.0, gt=0, description="where the integral ends")
    global_views: int = Field(
        2, ge=1, description="so many views, the first ones, are global crops: all views are pulled to their mean"
    )
    pooled: bool = Field(
        False, description="all views together are one sample of the Gaussian; false: each view by itself"
    )


routes = every_view
modules = no_modules
check = any_batch


def sigreg(samples: Float[Tensor, "v n d"], along: Float[Tensor, "k d"], config: Config) -> Float[Tensor, ""]:
    """The mean over samples (views) and unit directions of the Epps-Pulley statistic, as the formula reads.

    `fused.epps_pulley.mean_statistic` is the same, sooner and in little memory: `loss` calls it,
    tests/reference/test_fused.py holds it to this in float64.
    """
    frequencies = torch.linspace(0, config.max_frequency, config.knots, dtype=samples.dtype, device=samples.device)
    gaussian = torch.exp(-frequencies.square() / 2)
    angles = (samples @ along.T).unsqueeze(-1) * frequencies
    distance = (angles.cos().mean(1) - gaussian).square() + angles.sin().mean(1).square()
    return samples.shape[1] * 2 * torch.trapezoid(distance * gaussian, frequencies).mean()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Both terms over the global batch; every process looks along the directions that the first one draws."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        views = torch.stack(outputs.student)
        views = views.to(torch.promote_types(views.dtype, torch.float32))
        samples = views.flatten(0, 1).unsqueeze(0) if config.pooled else views
        own = directions(config.directions, views, context.generator)
        shared = (context.gather(chunk)[: len(chunk)] for chunk in own)
        gaussianity = mean_statistic(samples, shared, config.knots, config.max_frequency, context.gather)
        invariance = context.gather(spread(views, config.global_views).view(1)).mean()
    total = (1 - config.weight) * invariance + config.weight * gaussianity
    return {"loss": total, "invariance": invariance, "gaussianity": gaussianity}
