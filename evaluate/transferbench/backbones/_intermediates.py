"""Tokens of the last layers of any network that offers timm's `forward_intermediates`."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from transferbench.errors import UserError


def offers(network: nn.Module) -> bool:
    """Whether a network has that interface: timm's models do."""
    return callable(getattr(network, "forward_intermediates", None)) and hasattr(network, "feature_info")


def tokens(network: Any, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
    """Tokens of the last blocks or stages, each `b n d`, prefix first; all where there are fewer.

    Raises:
        UserError: without `normed`, where there is no last norm.
    """
    if not normed and not isinstance(getattr(network, "norm", None), nn.Module):
        raise UserError(f"norm=false: {type(network).__name__} has no norm behind its last layer. Leave it out.")
    takes = inspect.signature(network.forward_intermediates).parameters
    asked = {"indices": min(layers, len(network.feature_info)), "norm": normed, "intermediates_only": True}
    if "return_prefix_tokens" not in takes:
        return [each.flatten(2).transpose(1, 2) for each in network.forward_intermediates(images, **asked)]
    found = network.forward_intermediates(images, **asked, return_prefix_tokens=True, output_fmt="NLC")
    return [each if isinstance(each, Tensor) else torch.cat([each[1], each[0]], 1) for each in found]
