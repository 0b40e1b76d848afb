"""Whether two networks compute the same with the same weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.errors import UserError

CLOSE = 1e-4
"""Of the largest feature: how near two networks have to come to count as one."""

Weighted = tuple[Architecture, Mapping[str, Tensor]]
"""A network and its values by canonical names."""


def compute_alike(first: Weighted, second: Weighted) -> bool:
    """Whether both give the same features of an image, at the size that the second is made for."""
    side = backbones.side(second[0])
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected, computed = _features(*second, image), _features(*first, image)
    if expected is None or computed is None or computed.shape != expected.shape:
        return False
    return float((computed - expected).abs().max()) <= CLOSE * float(expected.abs().max())


def _features(architecture: Architecture, weights: Mapping[str, Tensor], image: Tensor) -> Tensor | None:
    """Of an image; None where values lack, or the network is made for images of another size."""
    backbone = _filled(architecture, weights)
    try:
        with torch.no_grad():
            return backbone(image) if backbone else None
    except (AssertionError, RuntimeError, ValueError, UserError):
        return None


def _filled(architecture: Architecture, weights: Mapping[str, Tensor]) -> backbones.Backbone | None:
    """The network with its values; None where they are not all there."""
    backbone = backbones.build(architecture)
    lacking, unknown = backbone.load_state_dict({name: t.float() for name, t in weights.items()}, strict=False)
    if unknown or any(not name.endswith(backbones.COUNTER) for name in lacking):
        return None
    backbone.eval()
    return backbone
