"""Forward and backward of a batch: whole, or in parts that fit in memory (gradient caching).

Once for each step, `forward` gives one embedding `n d`, with gradient, for each view `n 3 h w`, and `backward` adds the
gradient of a loss of these embeddings to that of every weight; `averages` says whether the encoder's then are averaged
over processes. `features` are what the backbone made of each view in the last `forward`, `n width`, without gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from decorssl.encoder import Encoder
from transferbench import renamed
from transferbench.runtime import Runtime

Network = Callable[[list[Tensor]], list[Tensor]]
Precision = Callable[[], torch.autocast]
Prepare = Callable[[nn.Module], Network]


class Whole:
    """All images at once."""

    averages = True

    def __init__(self, encoder: Encoder, runtime: Runtime, precision: Precision, prepare: Prepare) -> None:
        network = _Both(encoder)
        parallel = DistributedDataParallel(network, gradient_as_bucket_view=True) if runtime.world_size > 1 else network
        self.network, self.precision = prepare(parallel), precision
        self.features: Sequence[Tensor] = ()

    def forward(self, views: list[Tensor]) -> list[Tensor]:
        """The embeddings."""
        with self.precision():
            both = self.network(views)
        self.features = both[len(views) :]
        return both[: len(views)]

    def backward(self, loss: Tensor) -> None:
        """The gradients."""
        loss.backward()


class GradCache:
    """Gradient caching: a part of the images at a time through the backbone, all through projector and loss.

    The backbone runs twice: once without gradient, to know the features that the loss is of, and, when the gradient at
    these is known, once more with it, so that the activations kept are those of one part of one view (gradient caching,
    Gao et al., arXiv 2101.06983). The gradient is exactly that of the whole batch's loss. Batch normalization in the
    backbone sees one part; its running averages count each part once.
    """

    averages = False

    def __init__(self, encoder: Encoder, size: int, precision: Precision, prepare: Prepare) -> None:
        self.encoder, self.size, self.precision = encoder, size, precision
        self.network = prepare(_Features(encoder))
        self._views: Sequence[Tensor] = ()
        self._features: Sequence[Tensor] = ()
        self.features: Sequence[Tensor] = ()

    def forward(self, views: list[Tensor]) -> list[Tensor]:
        """The embeddings; what the second run needs is kept until `backward`."""
        with self.precision():
            with torch.no_grad():
                self._features = features_in_parts(self.network, views, self.size)
            whitened = self.encoder.whitened([features.requires_grad_() for features in self._features])
            self._views, self.features = views, [features.detach() for features in whitened]
            return self.encoder.project(whitened)

    def backward(self, loss: Tensor) -> None:
        """The gradients, part by part."""
        loss.backward()
        with unchanged_buffers(self.encoder.backbone):
            for view, features in zip(self._views, self._features, strict=True):
                assert features.grad is not None
                for part, gradient in zip(view.split(self.size), features.grad.split(self.size), strict=True):
                    with self.precision():
                        (again,) = self.network([part])
                    again.backward(gradient)
        self._views = self._features = ()


Passes = Whole | GradCache


class _Both(nn.Module):
    """`Encoder.forward`, and the features behind the embeddings: results, so that a compiled network has them too."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, views: list[Tensor]) -> list[Tensor]:
        features = self.encoder.whitened(self.encoder.features(views))
        return [*self.encoder.project(features), *(each.detach() for each in features)]


class _Features(nn.Module):
    """`Encoder.features` as a module, which is what can be compiled."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, views: list[Tensor]) -> list[Tensor]:
        return self.encoder.features(views)


def features_in_parts(network: Network, views: list[Tensor], size: int) -> list[Tensor]:
    """What the backbone makes of each view, `n width`, so many images at a time."""
    return [torch.cat([network([part])[0] for part in view.split(size)]) for view in views]


@contextmanager
def unchanged_buffers(module: nn.Module) -> Iterator[None]:
    """Running averages and counters are afterwards what they were before."""
    before = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, kept in zip(module.buffers(), before, strict=True):
                buffer.copy_(kept)


__getattr__ = renamed.names_of(__name__)
