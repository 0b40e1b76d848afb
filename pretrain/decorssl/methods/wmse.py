"""W-MSE: batch whitening by Cholesky factors, then the distance between views.

L = mean over cuts and pairs of views of l(Y_a, Y_b) with Y = R^(-1) X, R R^T the covariance between channels of a
sub-batch, R lower triangular, and l(A, B) = 2 - 2/n sum_i cos(a_i, b_i).

Ermolov et al., *Whitening for Self-Supervised Representation Learning*, arXiv 2007.06346. Source:
docs/methods.md#w-mse (ran CW-RGP's copy of the code).
"""

from torch import Tensor

from decorssl import batch_whitening
from decorssl.methods import Context, Outputs, every_view, no_modules
from decorssl.pairs import permutations

Config = batch_whitening.SubBatches
routes = every_view
modules = no_modules
PER_PROCESS = True
check = batch_whitening.check
fitted = batch_whitening.fitted


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment of views whitened by the triangular factor."""
    draw = permutations(context.generator)
    return {"loss": batch_whitening.whitened_alignment(outputs.student, context.config, draw, "cholesky")}
