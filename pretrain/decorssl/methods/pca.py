"""PCA: batch whitening onto the principal axes, which collapses dimensionally.

L = mean over pairs of views of l(Y_a, Y_b) with Y = Lambda^(-1/2) U^T X, U Lambda U^T the covariance between channels
of a sub-batch and l(A, B) = 2 - 2/n sum_i cos(a_i, b_i).

A failure in CW-RGP's comparison, arXiv 2210.03586. Source: docs/methods.md#pca. Axes turn and swap from step to step
and from view to view, so the target of a view is never still. Eigenvectors have no gradient where eigenvalues are
equal, as those of a singular covariance are with and without `eps`.
"""

from torch import Tensor

from decorssl import batch_whitening
from decorssl.methods import Context, Outputs, every_view, no_modules
from decorssl.pairs import permutations

Config = batch_whitening.SubBatches
routes = every_view
modules = no_modules
PER_PROCESS = True


def check(config: batch_whitening.SubBatches, batch: int, dim: int) -> None:
    """Sub-batches fill the local batch and are larger than the embedding, whatever `eps`."""
    batch_whitening.check(config.model_copy(update={"eps": 0.0}), batch, dim)


def fitted(config: batch_whitening.SubBatches, batch: int, dim: int) -> tuple[batch_whitening.SubBatches, int]:
    """As of the whole family, whatever `eps`."""
    plain, channels = batch_whitening.fitted(config.model_copy(update={"eps": 0.0}), batch, dim)
    return plain.model_copy(update={"eps": config.eps}), channels


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment of views whitened onto the axes of each."""
    draw = permutations(context.generator)
    return {"loss": batch_whitening.whitened_alignment(outputs.student, context.config, draw, "pca")}
