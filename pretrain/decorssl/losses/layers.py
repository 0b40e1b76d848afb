"""Whitening as layers without parameters: embeddings `n d` in, whitened ones out, in float32 or better.

They whiten the batch that they are given, in evaluation too: there are no running averages. The losses whiten by the
same functions.

    projector = nn.Sequential(nn.Linear(512, 128), ZCA())  # batches of more than 128 images
"""

from functools import partial

import torch
from torch import Tensor, nn

from decorssl.losses.embeddings import require_sizes
from decorssl.methods import cwrgp, dbn
from decorssl.pairs import permutations
from decorssl.spectral import Factor, whiten
from decorssl.whiten import Between, iternorm, observed
from transferbench.errors import UserError
from transferbench.runtime import generator_of, joined
from transferbench.settings import read


class Whitening(nn.Module):
    """What all have: by default the statistics are of a process's images, with `global_batch` of all processes'.

    Raises:
        UserError: for an input that is no `n d`, or cannot be whitened in this way.
        torch.linalg.LinAlgError: when a covariance cannot be factored, as one with infinite or NaN elements.
    """

    def __init__(self, global_batch: bool = False) -> None:
        super().__init__()
        self.global_batch = global_batch

    def extra_repr(self) -> str:
        """The arguments."""
        return ", ".join(
            f"{name}={value!r}" for name, value in vars(self).items() if name[0] != "_" and name != "training"
        )

    def forward(self, z: Tensor) -> Tensor:
        """The whitened rows of `z`, `n d`."""
        if z.ndim != 2:
            raise UserError(f"{type(self).__name__}: found shape {tuple(z.shape)}. Expected (images, channels).")
        with torch.autocast(z.device.type, enabled=False):
            rows, process = z.to(torch.promote_types(z.dtype, torch.float32)), joined(z.device)
            if not self.global_batch:
                return self.whitened(rows)
            return self.whitened(process.gather(rows)).chunk(process.world_size)[process.rank]

    def whitened(self, rows: Tensor) -> Tensor:
        """What the layer computes, in the precision of `rows`."""
        raise NotImplementedError


class IterNorm(Whitening):
    """Newton's approximation of ZCA whitening, which no singular covariance harms (docs/methods.md#newton-iterations).

    Huang et al., arXiv 1904.03441; with `covariance_between="samples"` and `global_batch` it is INTL's whitening.

    Args:
        iterations: Newton steps, 1 to 7.
        covariance_between: what is whitened: channels over samples, or samples over channels.
        global_batch: over the images of all processes.
    """

    def __init__(
        self, iterations: int = 4, covariance_between: Between = "channels", global_batch: bool = False
    ) -> None:
        super().__init__(global_batch)
        if not 1 <= iterations <= 7:
            raise UserError(f"IterNorm: found iterations={iterations}. Expected 1 to 7: float32 diverges beyond.")
        self.iterations = iterations
        self.covariance_between: Between = covariance_between

    def whitened(self, rows: Tensor) -> Tensor:
        """`rows` by `decorssl.whiten.iternorm`."""
        return iternorm(rows, self.iterations, self.covariance_between)


class _Factored(Whitening):
    """Whitening by a root of (1 - eps) covariance + eps I."""

    factor: Factor

    def __init__(self, covariance_between: Between = "channels", eps: float = 0.0, global_batch: bool = False) -> None:
        super().__init__(global_batch)
        if not 0 <= eps < 1:
            raise UserError(f"{type(self).__name__}: found eps={eps}. Expected a share of the identity, from 0 to 1.")
        self.covariance_between: Between = covariance_between
        self.eps = eps

    def whitened(self, rows: Tensor) -> Tensor:
        """`rows` by `decorssl.spectral.whiten`."""
        variables = observed(rows, self.covariance_between)
        count, observations = variables.shape
        if count >= observations and not self.eps:
            other = "channels" if self.covariance_between == "samples" else "samples"
            raise UserError(
                f"{type(self).__name__}: found {observations} {other} to whiten {count} {self.covariance_between}. "
                f"Expected more {other} than {self.covariance_between}, or an eps above 0."
            )
        out = whiten(variables, observations - 1, self.factor, self.eps)
        return out if self.covariance_between == "samples" else out.T


class ZCA(_Factored):
    """Whitening by the symmetric root, which moves the embeddings least (docs/methods.md#zca).

    Args:
        covariance_between: what is whitened: channels over samples, or samples over channels.
        eps: share of the identity mixed into the covariance.
        global_batch: over the images of all processes.
    """

    factor = "zca"


class Cholesky(_Factored):
    """Whitening by the triangular root, as W-MSE's (Ermolov et al., arXiv 2007.06346; docs/methods.md#w-mse).

    Args:
        covariance_between: what is whitened: channels over samples, or samples over channels.
        eps: share of the identity mixed into the covariance.
        global_batch: over the images of all processes.
    """

    factor = "cholesky"


class GroupWhitening(Whitening):
    """Samples whitened over each group of their channels, as CW-RGP's (arXiv 2210.03586; docs/methods.md#cw-rgp).

    Each group needs as many channels as there are samples, one more when there is one group.

    Args:
        groups: into which the channels are split.
        shuffled: at random, by torch's own generator, in each pass; else in order.
        eps: share of the identity mixed into each covariance.
        global_batch: over the images of all processes.
    """

    def __init__(self, groups: int = 4, shuffled: bool = True, eps: float = 0.0, global_batch: bool = False) -> None:
        super().__init__(global_batch)
        self.groups, self.shuffled, self.eps = groups, shuffled, eps

    def whitened(self, rows: Tensor) -> Tensor:
        """`rows` by `decorssl.methods.cwrgp.whitened`."""
        config = read(cwrgp.Config, {"w_size": len(rows), "groups": self.groups, "eps": self.eps})
        require_sizes("GroupWhitening", cwrgp, config, *rows.shape)
        draw = permutations(generator_of(rows.device)) if self.shuffled else partial(torch.arange, device=rows.device)
        return cwrgp.whitened(observed(rows, "samples")[None, None], config, draw)[0, 0]


class DBN(Whitening):
    """Decorrelated batch normalization: channels whitened over the samples, group by group (arXiv 2105.00470).

    The covariance is the biased one, as published (docs/methods.md#dbn). Groups are smaller than the batch.

    Args:
        groups: into which the channels are split; None: of half the batch each.
        shuffled: Shuffled-DBN: at random, by torch's own generator, in each pass.
        global_batch: over the images of all processes.
    """

    def __init__(self, groups: int | None = None, shuffled: bool = False, global_batch: bool = False) -> None:
        super().__init__(global_batch)
        self.groups, self.shuffled = groups, shuffled

    def whitened(self, rows: Tensor) -> Tensor:
        """`rows` by `decorssl.methods.dbn.normalized`."""
        config = read(dbn.Config, {"groups": self.groups, "shuffled": self.shuffled})
        require_sizes("DBN", dbn, config, *rows.shape)
        return dbn.normalized(rows, config, permutations(generator_of(rows.device)))
