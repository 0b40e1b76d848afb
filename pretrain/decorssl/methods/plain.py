"""Plain: the distance between views and nothing else, which collapses to a point.

L = mean over pairs of views of l(Z_a, Z_b) with l(A, B) = 2 - 2/n sum_i cos(a_i, b_i).

The identity among the spectral transformations, arXiv 2305.16789 and 2210.03586. Source: docs/methods.md#plain.
"""

from torch import Tensor

from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from decorssl.pairs import mean_over_pairs
from transferbench.settings import Settings


class Config(Settings):
    """Nothing to set."""


routes = every_view
modules = no_modules
check = any_batch


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment of embeddings as they are, over the global batch."""
    return {"loss": mean_over_pairs([context.gather(z) for z in outputs.student])}
