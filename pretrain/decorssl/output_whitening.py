"""Whitening as the last layer of a backbone, of any method: between its pooled features and the projector.

Y = (X - m) W with W = (X^T X / n + eps I)^(-1/2), X centered: in training m and W of each view's batch, later running
averages of both, which are one affine map.

Kalapos and Gyires-Toth, arXiv 2408.07519; checked against kaland313/SSL-Whitening's numbers
(docs/methods.md#whitening-the-encoders-output).
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from decorssl.spectral import covariances, inverse_root
from decorssl.whiten import newton_inverse_root
from transferbench.runtime import joined
from transferbench.settings import Settings


class Whitening(Settings):
    """How a backbone's features are whitened; the defaults are the published settings."""

    kind: Literal["iternorm", "zca"] = Field(
        "iternorm", description="Newton's approximation of the root, or the root itself, which needs a large batch"
    )
    iterations: int = Field(5, ge=1, le=7, description="Newton steps of iternorm; float32 diverges beyond 7")
    momentum: float = Field(0.1, gt=0, le=1, description="share of a batch in the running mean and matrix")
    eps: float = Field(1e-5, ge=0, description="added to the covariance's diagonal")


class OutputWhitening(nn.Module):
    """The layer for features of `width` channels: float32 or better, statistics over the images of all processes.

    `mean` and `matrix` are running averages, of the whitening matrices themselves as published, and not of covariances.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, width: int, settings: Whitening) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Whitened features of one view.

        Raises:
            torch.linalg.LinAlgError: for `zca`, when the covariance has infinite or NaN elements.
        """
        with torch.autocast(features.device.type, enabled=False):
            rows = features.to(torch.promote_types(features.dtype, torch.float32))
            if not self.training:
                return (rows - self.mean) @ self.matrix.mT
            exact = rows.double() if self.settings.kind == "zca" else rows
            batch = joined(rows.device).gather(exact)
            mean = batch.mean(0)
            matrix = self.root(batch - mean)
            with torch.no_grad():
                self.mean.lerp_(mean.to(self.mean.dtype), self.settings.momentum)
                self.matrix.lerp_(matrix.to(self.matrix.dtype), self.settings.momentum)
            return ((exact - mean) @ matrix.mT).to(rows.dtype)

    def root(self, centered: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
        """The whitening matrix of centered rows."""
        sigma = covariances(centered.mT, len(centered))
        sigma = sigma + self.settings.eps * torch.eye(len(sigma), dtype=sigma.dtype, device=sigma.device)
        return (
            inverse_root(sigma) if self.settings.kind == "zca" else newton_inverse_root(sigma, self.settings.iterations)
        )
