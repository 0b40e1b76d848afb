"""PIL's Gaussian blur of a batch: three box blurs across and three down, each rounded to 8 bits."""

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import float32
from torch import Tensor

PASSES = 3
UNIT = 1 << 24
"""The weights of a box are whole multiples of one over this, and sum to it or to one less."""


def boxes(deviations: Float64[np.ndarray, "n"]) -> tuple[Int64[np.ndarray, "n"], Int32[np.ndarray, "n 2"]]:
    """How many whole pixels a box reaches to each side, and the weights of those and of the one beyond.

    Radii that give the wanted deviation after three passes (Gwosdek et al. 2011, in Pillow's BoxBlur.c), in single
    precision as there. Source: docs/protocols.md#pixels.
    """
    square = deviations.astype(float32) * deviations.astype(float32) / float32(PASSES)
    length = np.sqrt(12.0 * square.astype(np.float64) + 1.0).astype(float32)
    whole = np.floor((length.astype(np.float64) - 1.0) / 2.0).astype(float32)
    rest = (2 * whole + 1) * (whole * (whole + 1) - 3 * square)
    radius = whole + rest / (6 * (square - (whole + 1) * (whole + 1)))
    reach = radius.astype(np.int64)
    inner = (float32(UNIT) / (radius * 2 + 1)).astype(np.int64)
    outer = (UNIT - (2 * reach + 1) * inner) // 2
    return reach, np.stack([inner, outer], 1).astype(np.int32)


def blurred(x: Float32[Tensor, "n c h w"], reach: int, weights: Int32[Tensor, "n 2"]) -> Float32[Tensor, "n c h w"]:
    """The images blurred by boxes of one reach; the border is continued by its last pixel."""
    inner, outer = weights.T[:, :, None, None, None]
    # Values less 128 keep the sums within 32 bits; where the weights are one short of UNIT, so is what 128 gives.
    short = UNIT - (2 * reach + 1) * inner - 2 * outer
    offset = UNIT // 2 - 128 * short
    x = x.to(torch.int32) - 128
    for _ in range(2):
        for _ in range(PASSES):
            x = _box(x, reach, inner, outer, offset)
        x = x.transpose(2, 3)
    return (x + 128).float()


def _box(x: Tensor, reach: int, inner: Tensor, outer: Tensor, offset: Tensor) -> Tensor:
    """One pass along the last axis."""
    beyond, width = reach + 1, x.shape[3]
    place = torch.arange(-beyond, width + beyond, device=x.device).clamp_(0, width - 1)
    padded = x[..., place]
    near = sum(padded[..., 1 + k : 1 + k + width] for k in range(2 * reach + 1))
    far = padded[..., :width] + padded[..., 2 * beyond :]
    return (near * inner + far * outer + offset) >> 24
