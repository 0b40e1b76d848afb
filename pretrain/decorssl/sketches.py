"""What sketching methods share: random directions, and the pull of all views towards the global ones."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

CHUNK = 256
"""Directions that are drawn and looked along together. What a seed draws depends on it."""


def directions(
    count: int, like: Float[Tensor, "*rows d"], generator: torch.Generator
) -> Iterator[Float[Tensor, "k d"]]:
    """Uniform unit vectors among the channels of `like`, `CHUNK` at a time until there are `count`.

    Args:
        count: of all chunks together.
        like: embeddings, whose channels and precision the directions have.
        generator: on the device of the embeddings.
    """
    for begin in range(0, count, CHUNK):
        shape = (min(CHUNK, count - begin), like.shape[-1])
        yield normalize(torch.randn(shape, generator=generator, device=generator.device, dtype=like.dtype), dim=1)


def spread(views: Float[Tensor, "v n d"], global_views: int) -> Float[Tensor, ""]:
    """Mean squared distance, element by element, of all views from the mean of the first `global_views`.

    Where there are fewer views, all are global.
    """
    return (views - views[:global_views].mean(0)).square().mean()
