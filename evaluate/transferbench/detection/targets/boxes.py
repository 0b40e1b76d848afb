"""Boxes in pixels, corners x0 y0 x1 y1: overlap, clipping, and their coding as offsets from other boxes."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LARGEST_GROWTH = math.log(1000 / 16)
"""The most a side may grow by, as a logarithm: from 16 to 1000 pixels."""

Weights = tuple[float, float, float, float]
Size = tuple[int, int]
"""Height and width in pixels."""


def overlaps(first: Float[Tensor, "n 4"], second: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """Intersection over union of every pair; 0 where they do not meet."""
    top_left = torch.max(first[:, None, :2], second[:, :2])
    bottom_right = torch.min(first[:, None, 2:], second[:, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(2)
    union = _areas(first)[:, None] + _areas(second) - shared
    return torch.where(shared > 0, shared / union, torch.zeros_like(shared))


def clipped(boxes: Float[Tensor, "*n 4"], size: Size) -> Float[Tensor, "*n 4"]:
    """The parts of boxes inside an image."""
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)


def larger_than(boxes: Float[Tensor, "n 4"], side: float) -> Bool[Tensor, " n"]:
    """Whether both sides of a box are longer than `side` pixels."""
    return ((boxes[:, 2:] - boxes[:, :2]) > side).all(1)


def encode(boxes: Float[Tensor, "n 4"], targets: Float[Tensor, "n 4"], weights: Weights) -> Float[Tensor, "n 4"]:
    """Each target's place relative to its box: shift of the center by the box's sides, logarithm of the growth.

    The four are multiplied by `weights` (docs/protocols.md#torchvision).
    """
    center, side = _centers_and_sides(boxes)
    target_center, target_side = _centers_and_sides(targets)
    scale = boxes.new_tensor(weights)
    shift = scale[:2] * (target_center - center) / side
    return torch.cat((shift, scale[2:] * torch.log(target_side / side)), 1)


def decode(boxes: Float[Tensor, "n 4"], offsets: Float[Tensor, "n coded"], weights: Weights) -> Float[Tensor, "n k 4"]:
    """The boxes that `offsets` from `boxes` (four numbers for each of k) stand for, in float32.

    The inverse of `encode`, but for a bound on growth.
    """
    center, side = (each[:, None] for each in _centers_and_sides(boxes))
    coded = offsets.float().reshape(len(offsets), -1, 4) / offsets.new_tensor(weights, dtype=torch.float32)
    middle = coded[..., :2] * side + center
    half = 0.5 * (torch.exp(coded[..., 2:].clamp(max=LARGEST_GROWTH)) * side)
    return torch.cat((middle - half, middle + half), -1)


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _centers_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    side = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * side, side
