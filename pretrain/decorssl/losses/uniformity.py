"""The W2 uniformity term as a module, to be added to any loss."""

import math

from torch import Tensor, nn

from decorssl.losses.embeddings import checked
from decorssl.uniformity import w2
from transferbench.errors import UserError
from transferbench.runtime import joined


class W2Uniformity(nn.Module):
    """The Wasserstein distance of embeddings from uniform ones, as `--set uniformity.weight=...` adds to a loss.

    Fang et al., arXiv 2403.00642 (docs/methods.md#w2-uniformity). Embeddings are normalized here, and those of all
    views, and of all processes where a process group has been started, are one sample.

        loss = criterion(z1, z2) + 0.2 * uniformity(z1, z2)

    Args:
        eps: added to the covariance's diagonal.
    """

    def __init__(self, eps: float = 0.0) -> None:
        super().__init__()
        if not 0 <= eps < math.inf:
            raise UserError(f"W2Uniformity: found eps={eps}. Expected 0 or more, and finite.")
        self.eps = eps

    def extra_repr(self) -> str:
        """The argument."""
        return f"eps={self.eps!r}"

    def forward(self, *views: Tensor) -> Tensor:
        """The distance, from 0 to sqrt(2); computed in float64, and float32 unless the embeddings are float64.

        Args:
            views: embeddings, `n d` each, one tensor a view or more.

        Raises:
            UserError: for no views, or shapes that differ.
            torch.linalg.LinAlgError: when the covariance has infinite or NaN elements.
        """
        if not views:
            raise UserError("W2Uniformity: found no embeddings. Expected those of one view or more.")
        checked("W2Uniformity", None, views, ())
        return w2([joined(z.device).gather(z) for z in views], self.eps)
