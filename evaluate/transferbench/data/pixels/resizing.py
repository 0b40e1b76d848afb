"""A box cut out and resized with antialiasing, as PIL does it: across, then down, each pass rounded to 8 bits."""

from functools import cache
from typing import Literal

import numpy as np
import PIL
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

Filter = Literal["bilinear", "bicubic"]
SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
UNIT = float(1 << 22)
"""PIL's weights are whole multiples of one over this."""


def crop(
    images: Float32[Tensor, "n c h w"], boxes: Float64[np.ndarray, "n 4"], size: int, filter: Filter
) -> Float32[Tensor, "n c size size"]:
    """The boxes (top, left, height, width) as squares: two products a box, in float64, where these sums are exact."""
    out = images.new_empty(*images.shape[:2], size, size)
    turned = down_first(boxes[:, 2] - size, boxes[:, 3] - size)
    for chosen, order in ((~turned, [0, 1, 2, 3]), (turned, [1, 0, 3, 2])):
        if chosen.any():
            rows = torch.from_numpy(np.flatnonzero(chosen)).to(images.device)
            own = torch.from_numpy(boxes[chosen][:, order]).to(images.device)
            part = images if len(rows) == len(images) else images[rows]
            if order[0]:
                part = part.transpose(2, 3)
            squares = _across_then_down(part, own, size, filter)
            out[rows] = squares.transpose(2, 3) if order[0] else squares
    return out


def down_first(taller: Float64[np.ndarray, "n"], wider: Float64[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Whether PIL's first pass is downwards, by how many pixels the box is higher and wider than the square.

    Never before Pillow 13, and from then on where the height shrinks by more than twice as much (seen by trial: python-
    pillow/Pillow#9549). Rounding between passes makes it matter.
    """
    return (taller > 0) & (taller > 2 * wider) & is_pillow_choosing()


@cache
def is_pillow_choosing() -> bool:
    """Whether the installed Pillow chooses its first pass."""
    return int(PIL.__version__.partition(".")[0]) >= 13


def _across_then_down(
    images: Float32[Tensor, "n c h w"], boxes: Float64[Tensor, "n 4"], size: int, filter: Filter
) -> Float32[Tensor, "n c size size"]:
    n, channels, h, w = images.shape
    top, left, height, width = boxes.T
    rows = images.double().reshape(n, channels * h, w) @ _placed(left, width, w, size, filter)
    rows = _rounded(rows).view(n, channels, h, size).transpose(1, 2).reshape(n, h, channels * size)
    squares = _rounded(_placed(top, height, h, size, filter).mT @ rows)
    return squares.view(n, size, channels, size).transpose(1, 2).float()


def _placed(
    start: Float64[Tensor, "n"], length: Float64[Tensor, "n"], side: int, size: int, filter: Filter
) -> Float64[Tensor, "n side size"]:
    """`weights`, looked up where there are few enough different ones."""
    if side > 40 or start.device.type != "cpu":
        return weights(start, length, side, size, filter)
    return _all_weights(side, size, filter)[(start * (side + 1) + length).long()]


@cache
def _all_weights(side: int, size: int, filter: Filter) -> Float64[Tensor, "all side size"]:
    start, length = (
        v.flatten().double() for v in torch.meshgrid(torch.arange(side), torch.arange(side + 1), indexing="ij")
    )
    return weights(start, length.clamp(min=1), side, size, filter)


def weights(
    start: Float64[Tensor, "n"], length: Float64[Tensor, "n"], side: int, size: int, filter: Filter
) -> Float64[Tensor, "n side size"]:
    """What each of `side` pixels gives to each of `size`, whole multiples of 1/2^22, as in Pillow's Resample.c.

    The stretch of `length` from `start` is filled; a filter wider than a pixel where it shrinks is what antialiases.
    Source: docs/protocols.md#pixels.
    """
    scale = length / size
    stretch = scale.clamp(min=1)[:, None, None]
    center = ((torch.arange(size, device=start.device) + 0.5) * scale[:, None])[:, None]
    place = torch.arange(side, device=start.device)[:, None] - start[:, None, None]
    reach = SUPPORT[filter] * stretch
    first = (center - reach + 0.5).trunc().clamp(min=0)
    last = torch.minimum((center + reach + 0.5).trunc(), length[:, None, None])
    share = _curve((place - center + 0.5) * (1 / stretch), filter)
    share = torch.where((place >= first) & (place < last), share, 0.0)
    share = share / share.sum(1, keepdim=True)
    return (share * UNIT + torch.where(share < 0, -0.5, 0.5)).trunc() / UNIT


def _curve(x: Float64[Tensor, "n side size"], filter: Filter) -> Float64[Tensor, "n side size"]:
    x = x.abs()
    if filter == "bilinear":
        return (1 - x).clamp(min=0)
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _rounded(sums: Float64[Tensor, "n a b"]) -> Float64[Tensor, "n a b"]:
    return sums.add_(0.5).floor_().clamp_(0, 255)
