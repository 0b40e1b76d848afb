"""ST: any function g of the covariance's spectrum; whitening and IterNorm are two of them.

L = mean over i > 0 of l(Y_i, Y_0) + w (TL(Y_i) + TL(Y_0)) with Y = U g(Lambda) U^T X, U Lambda U^T the covariance, and
INTL's l and TL.

Weng et al., *Modulate Your Spectrum in Self-Supervised Learning*, arXiv 2305.16789. Source: docs/methods.md#st.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.matrix_functions import Square, matrix_function, newton, power
from decorssl.methods import Context, Outputs, every_view, no_modules
from decorssl.methods.intl import trace_loss
from decorssl.pairs import normalized_mse
from decorssl.spectral import is_unresolved
from decorssl.whiten import Between, covariance, observed
from transferbench.errors import UserError
from transferbench.settings import Settings


class Config(Settings):
    """Which g, and between what; `iternorm` with a weight of the trace loss is INTL, `whitening` is ZCA."""

    transform: Literal["power", "whitening", "iternorm", "identity"] = Field(
        "whitening", description="g(lambda), what becomes of the eigenvalues of the covariance"
    )
    power: float = Field(0.5, ge=0, le=1, description="p of lambda^-p, for `power`; 0.5 is whitening")
    iterations: int = Field(4, ge=1, le=7, description="Newton steps, for `iternorm`; float32 diverges beyond 7")
    covariance_between: Between = Field(
        "samples", description="what is whitened: samples over channels (few samples), or channels over samples"
    )
    trace_weight: float = Field(0.0, ge=0, description="of the trace loss; INTL takes 0.05 for 256 samples")


routes = every_view
modules = no_modules


def check(config: Config, batch: int, dim: int) -> None:
    """A covariance between samples has full rank, where eigenvalues near zero would be blown up."""
    singular = config.covariance_between == "samples" and batch >= dim
    if singular and config.transform in ("power", "whitening"):
        raise UserError(
            f"An embedding of {dim} channels cannot whiten {batch} samples: fewer samples than channels are needed. "
            "Raise projector.output, lower batch_size, or set settings.covariance_between=channels."
        )


def fitted(config: Config, batch: int, dim: int) -> tuple[Config, int]:
    """Twice as many channels as samples where a covariance between samples would be singular."""
    singular = config.covariance_between == "samples" and config.transform in ("power", "whitening") and batch >= dim
    return config, 2 * batch if singular else dim


def transformation(sigma: Square, config: Config) -> Square:
    """Phi = U g(Lambda) U^T; IterNorm's g is f_T(lambda / tr) / sqrt(tr)."""
    match config.transform:
        case "identity":
            return torch.eye(len(sigma), dtype=sigma.dtype, device=sigma.device)
        case "iternorm":
            trace = sigma.diagonal().sum()
            return matrix_function(sigma / trace, newton(config.iterations)) / trace.sqrt()
        case "power" | "whitening":
            return matrix_function(sigma, power(config.power if config.transform == "power" else 0.5))


def transformed(z: Float[Tensor, "n d"], config: Config) -> Float[Tensor, "n d"]:
    """`z` centered and multiplied by Phi of its covariance; in float64 where `spectral.whiten` would be."""
    rows = observed(z, config.covariance_between)
    inverts = config.transform in ("power", "whitening") and rows.dtype == torch.float32
    if inverts and is_unresolved(covariance(rows.detach())):
        return transformed(z.double(), config).float()
    out = transformation(covariance(rows), config) @ rows
    return out if config.covariance_between == "samples" else out.T


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment of all views with the first, and trace losses, over the global batch, as INTL's loss."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        views = [transformed(context.gather(z), config) for z in outputs.student]
        alignment = torch.stack([normalized_mse(z, views[0]) for z in views[1:]]).mean()
        traces = torch.stack([trace_loss(z, config.covariance_between) for z in views])
        trace = traces[1:].mean() + traces[0]
    return {"loss": alignment + config.trace_weight * trace, "alignment": alignment, "trace": trace}
