"""Traces of powers and products of matrices, from few products: tr(A B) is the sum of the elements of A o B^T."""

from jaxtyping import Float
from torch import Tensor

Scalars = tuple[Float[Tensor, ""], ...]


def product(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, "s s"]:
    """The smaller of a b^T and a^T b, whose powers have the same traces."""
    n, d = a.shape
    return a @ b.T if n <= d else a.T @ b


def powers(c: Float[Tensor, "s s"]) -> Scalars:
    """tr(C), tr(C^2), tr(C^3), tr(C^4) by one product."""
    square = c @ c
    return c.trace(), square.trace(), (square * c.T).sum(), (square * square.T).sum()
