"""The pretraining methods, one a file, and what the loop gives them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transferbench import plugins
from transferbench.settings import Settings

METHODS = plugins.Room("decorssl.methods", "method")


@dataclass(frozen=True)
class Outputs:
    """Embeddings of this process's part of the batch: one tensor a view that the student saw, in view order."""

    student: tuple[Float[Tensor, "n d"], ...]


@dataclass(frozen=True)
class Context:
    """What a loss may use beside embeddings.

    `gather` concatenates rows over processes, differentiably. `generator` is drawn afresh from (seed, step, rank), so
    that a resumed run draws what the unbroken one would have drawn.
    """

    config: Any
    step: int
    total_steps: int
    epoch: int
    generator: torch.Generator
    gather: Callable[[Tensor], Tensor]
    modules: nn.ModuleDict


class Method(Protocol):
    """What a file in this folder offers."""

    Config: ClassVar[type[Settings]]

    def modules(self, dim: int, config: Any) -> nn.ModuleDict:
        """The method's own networks (a predictor, say), for embeddings of `dim` channels; trained and saved with it."""
        ...

    def check(self, config: Any, batch: int, dim: int) -> None:
        """Refuse, by a UserError, a batch (of one process) or an embedding size the method cannot work with."""
        ...

    def loss(self, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """The terms of the loss; the one called `loss` is minimised, the others are logged."""
        ...
