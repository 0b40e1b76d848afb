"""Regions cut out of maps, each from the map that suits its size."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

USUAL_SIDE, USUAL_STRIDE = 224, 16
"""A region whose area has this square root, in pixels, is pooled at this stride (Lin et al., equation 1)."""


def pooled(
    maps: Sequence[Float[Tensor, "b c _ _"]], strides: Sequence[int], boxes: Sequence[Tensor], side: int, ratio: int
) -> Float[Tensor, "r c side side"]:
    """Every image's boxes (`n 4`, pixels) on grids of `side` by `side`, image by image.

    `ratio` samples are taken a place, 0 for as many as there are pixels of the map; half-pixel corners are aligned
    (`ROIAlignV2`; docs/protocols.md#torchvision).
    """
    from torchvision.ops import roi_align  # imported where boxes are found: it takes longer than torch

    numbers = [torch.full_like(each[:, :1], number) for number, each in enumerate(boxes)]
    regions = torch.cat([torch.cat(pair, 1) for pair in zip(numbers, boxes, strict=True)]).to(maps[0].dtype)
    if len(maps) == 1:
        return roi_align(maps[0], regions, side, 1 / strides[0], sampling_ratio=ratio, aligned=True)
    level = levels(torch.cat(list(boxes)), strides)
    output = maps[0].new_zeros(len(regions), maps[0].shape[1], side, side)
    for number, (each, stride) in enumerate(zip(maps, strides, strict=True)):
        here = (level == number).nonzero()[:, 0]
        cut = roi_align(each, regions[here], side, 1 / stride, sampling_ratio=ratio, aligned=True)
        output = output.index_put((here,), cut)
    return output


def levels(boxes: Float[Tensor, "n 4"], strides: Sequence[int]) -> Int64[Tensor, " n"]:
    """The number of the map each box is cut out of: one coarser for each doubling of its sides."""
    side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    wanted = (math.log2(USUAL_STRIDE) + torch.log2(side / USUAL_SIDE + 1e-8)).floor()
    finest, coarsest = math.log2(strides[0]), math.log2(strides[-1])
    return (wanted.clamp(finest, coarsest) - finest).long()
