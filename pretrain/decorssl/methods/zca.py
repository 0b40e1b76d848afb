"""ZCA: batch whitening by the symmetric root, then the distance between views.

L = mean over cuts and pairs of views of l(Y_a, Y_b) with Y = S^(-1/2) X, S the covariance between channels of a
sub-batch, and l(A, B) = 2 - 2/n sum_i cos(a_i, b_i).

The whitening loss that CW-RGP's paper compares W-MSE with, arXiv 2210.03586. Source: docs/methods.md#zca (ran the
authors' code).
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
    """Alignment of views whitened by the symmetric root."""
    draw = permutations(context.generator)
    return {"loss": batch_whitening.whitened_alignment(outputs.student, context.config, draw, "zca")}
