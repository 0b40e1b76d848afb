"""Whether two networks compute the same with the same weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture

CLOSE = 1e-4
"""Of the largest feature: how near two networks have to come to count as one."""

Weighted = tuple[Architecture, Mapping[str, Tensor]]
"""A network and its values by canonical names."""


def compute_alike(first: Weighted, second: Weighted) -> bool:
    """Whether both give the same features of an image, at the size that the second is made for."""
    backbone = _filled(*second)
    if backbone is None:
        return False
    side = getattr(backbone, "side", None) or second[0].arguments.get("image_size", 224)
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = backbone(image)
        other = _filled(*first)
        if other is None:
            return False
        try:
            computed = other(image)
        except (AssertionError, RuntimeError, ValueError):  # made for images of another size
            return False
    return computed.shape == expected.shape and float((computed - expected).abs().max()) <= CLOSE * float(
        expected.abs().max()
    )


def _filled(architecture: Architecture, weights: Mapping[str, Tensor]) -> backbones.Backbone | None:
    """The network with its values; None where they are not all there."""
    backbone = backbones.build(architecture)
    lacking, unknown = backbone.load_state_dict({name: t.float() for name, t in weights.items()}, strict=False)
    if unknown or any(not name.endswith(backbones.COUNTER) for name in lacking):
        return None
    backbone.eval()
    return backbone
