"""Distances between views, and the sub-batches that local whitening works in."""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from decorssl.fused.cosines import paired_cosines
from decorssl.spectral import reordered
from transferbench import renamed
from transferbench.errors import UserError

Draw = Callable[[int], Int64[Tensor, "n"]]
"""A random permutation of so many."""


def normalized_mse(a: Float[Tensor, "*batch d"], b: Float[Tensor, "*batch d"]) -> Float[Tensor, ""]:
    """2 - 2 mean cosine of paired rows (docs/methods.md#notation)."""
    return 2 - 2 * (normalize(a, dim=-1) * normalize(b, dim=-1)).sum(-1).mean()


def mean_over_pairs(views: Sequence[Tensor] | Float[Tensor, "v *batch d"], normalized: bool = True) -> Tensor:
    """The normalized MSE of every two views (or the mean squared difference of their elements), averaged."""
    stacked = views if isinstance(views, Tensor) else torch.stack(list(views))
    if not normalized:
        return torch.stack([mse_loss(a, b) for a, b in combinations(stacked, 2)]).mean()
    pairs = len(stacked) * (len(stacked) - 1) / 2
    return 2 - 2 * paired_cosines(stacked).mean() / pairs


def permutations(generator: torch.Generator) -> Draw:
    """Draws from `generator`, on its device."""
    return lambda n: torch.randperm(n, generator=generator, device=generator.device)


def sub_batches(
    views: Sequence[Float[Tensor, "n d"]] | Float[Tensor, "v n d"], size: int, draw: Draw
) -> Float[Tensor, "s v w d"]:
    """The batch in a random order cut into parts of `size`, the same parts for every view; float32 or better."""
    rows = views.flatten(0, 1) if isinstance(views, Tensor) else torch.cat(list(views))
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    n = len(views[0])
    places = n * torch.arange(len(views), device=rows.device)
    order = draw(n).view(-1, 1, size) + places.unsqueeze(-1)
    return reordered(rows, order.flatten()).view(*order.shape, -1)


def largest_part(batch: int, most: int) -> int:
    """The largest size up to `most` of equal parts of a batch; 1 where only single samples are."""
    return max(size for size in range(1, min(batch, most) + 1) if batch % size == 0)


def check_parts(batch: int, size: int) -> None:
    """Refuse a batch that sub-batches do not fill.

    Raises:
        UserError: saying which numbers do not fit.
    """
    if batch % size:
        fitting = max((each for each in range(2, size) if batch % each == 0), default=max(2, batch))
        raise UserError(
            f"Each process sees {batch} images per step, which cannot be split evenly into sub-batches of "
            f"settings.w_size={size}. Choose a batch_size (over all processes) that gives each process a multiple of "
            f"w_size, or lower w_size: --set settings.w_size={fitting}."
        )


__getattr__ = renamed.names_of(__name__)
