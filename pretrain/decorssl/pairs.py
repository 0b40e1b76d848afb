"""Distances between views, and the sub-batches that local whitening works in."""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from transferbench.errors import UserError

Draw = Callable[[int], Int64[Tensor, "n"]]
"""A random permutation of so many."""


def normalised_mse(a: Float[Tensor, "*batch d"], b: Float[Tensor, "*batch d"]) -> Float[Tensor, ""]:
    """2 - 2 mean cosine of paired rows (spec 1, "Notation")."""
    return 2 - 2 * (normalize(a, dim=-1) * normalize(b, dim=-1)).sum(-1).mean()


def mean_over_pairs(views: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The normalised MSE of every two views, averaged."""
    return torch.stack([normalised_mse(a, b) for a, b in combinations(views, 2)]).mean()


def permutations(generator: torch.Generator) -> Draw:
    """Draws from `generator`, on its device."""
    return lambda n: torch.randperm(n, generator=generator, device=generator.device)


def sub_batches(views: Sequence[Float[Tensor, "n d"]], size: int, draw: Draw) -> Float[Tensor, "s v w d"]:
    """The batch in a random order cut into parts of `size`, the same parts for every view; float32 or better."""
    stacked = torch.stack(list(views)).to(torch.promote_types(views[0].dtype, torch.float32))
    order = draw(stacked.shape[1])
    return stacked[:, order].unflatten(1, (-1, size)).transpose(0, 1)


def check_parts(batch: int, size: int) -> None:
    """Refuse a batch that sub-batches do not fill.

    Raises:
        UserError: saying which numbers do not fit.
    """
    if batch % size:
        raise UserError(
            f"Each process sees {batch} images a step, which sub-batches of settings.w_size={size} do not fill evenly. "
            "Choose a batch_size (over all processes) that gives each a multiple of w_size."
        )
