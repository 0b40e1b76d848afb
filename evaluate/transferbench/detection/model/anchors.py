"""Anchors: the boxes that proposals start from, at every place of a feature map."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.detection.recipe.keys import AnchorKeys


def cell(sizes: Sequence[float], ratios: Sequence[float]) -> Float[Tensor, "a 4"]:
    """Boxes around the origin in pixels: for each size (root of the area) each ratio (height over width), unrounded."""
    shapes = [(math.sqrt(size**2 / ratio), ratio) for size in sizes for ratio in ratios]
    return torch.tensor([[-width / 2, -ratio * width / 2, width / 2, ratio * width / 2] for width, ratio in shapes])


def cells(keys: AnchorKeys, count: int) -> list[Float[Tensor, "a 4"]]:
    """The cells of `count` maps; sizes or ratios that are given once hold for all of them."""
    sizes, ratios = (each * count if len(each) == 1 else each for each in (keys.SIZES, keys.ASPECT_RATIOS))
    return [cell(*pair) for pair in zip(sizes, ratios, strict=True)]


def grid(cell: Float[Tensor, "a 4"], height: int, width: int, stride: int, offset: float) -> Float[Tensor, "n 4"]:
    """The cell at every place of a map of `height` by `width`, row by row; `offset` is in strides.

    The stride is the network's, not the image's size over the map's (docs/protocols.md#torchvision).
    """
    rows, columns = ((torch.arange(count, device=cell.device) + offset) * stride for count in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    corners = torch.stack((x, y, x, y), -1).to(cell.dtype)
    return (corners[:, :, None] + cell).reshape(-1, 4)
