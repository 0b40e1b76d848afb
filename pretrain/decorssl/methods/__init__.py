"""The pretraining methods, one a file, and what the loop gives them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from decorssl.catalog import METHODS as METHODS
from transferbench.errors import UserError
from transferbench.settings import Settings


@dataclass(frozen=True)
class Routes:
    """Which views go through which network, by their place in the recipe; a view can go through both."""

    student: tuple[int, ...]
    teacher: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """Embeddings of this process's part of the batch: one tensor a routed view, in the order of the routes."""

    student: tuple[Float[Tensor, "n d"], ...]
    teacher: tuple[Float[Tensor, "n d"], ...] = ()
    """From the momentum network, without gradient."""
    student_features: tuple[Float[Tensor, "n w"], ...] = ()
    """What the student's backbone made of the same views, without gradient, for a method that asks (`Featured`)."""
    teacher_features: tuple[Float[Tensor, "n w"], ...] = ()
    """What the momentum network's backbone made of the teacher's."""


@dataclass(frozen=True)
class Context:
    """What a loss may use beside embeddings.

    `gather` concatenates rows over processes, differentiably. `generator` is drawn afresh from (seed, step, rank), so
    that a resumed run draws what the unbroken one would have drawn. `step` and `epoch` count from 0.
    """

    config: Any
    step: int
    total_steps: int
    epoch: int
    epochs: int
    generator: torch.Generator
    gather: Callable[[Tensor], Tensor]
    modules: nn.ModuleDict


@runtime_checkable
class Method(Protocol):
    """What a file in this folder offers.

    Some offer more: `momentum` (`Taught`), `after_step` (`Keeping`), `fitted` (`Fitting`). One whose
    loss is over the images of a process, which more processes make fewer, says `PER_PROCESS = True` (`Dealt`), one
    whose loss looks at what the backbone gave, before the projector, `NEEDS_FEATURES = True` (`Featured`).
    """

    Config: ClassVar[type[Settings]]

    def routes(self, config: Any, views: int) -> Routes:
        """Where each of so many views goes. Raises UserError for a number the method cannot work with."""
        ...

    def modules(self, dim: int, config: Any) -> nn.ModuleDict:
        """The method's own networks and buffers (a predictor, a queue), for embeddings of `dim` channels.

        Trained and saved with the run; gradients are averaged over processes like the encoder's.
        """
        ...

    def check(self, config: Any, batch: int, dim: int) -> None:
        """Refuse, by a UserError, a batch (of one process) or an embedding size the method cannot work with."""
        ...

    def loss(self, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """The terms of the loss; the one called `loss` is minimized, the others are logged."""
        ...


@runtime_checkable
class Taught(Protocol):
    """A method whose routes have a teacher."""

    def momentum(self, context: Context) -> float:
        """After each step the teacher's parameters (never its buffers) become m * teacher + (1 - m) * student."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A method that keeps a queue or a center."""

    def after_step(self, outputs: Outputs, context: Context) -> None:
        """Called without gradients after each step, and after the teacher has moved."""
        ...


@runtime_checkable
class Dealt(Protocol):
    """A method that says whether its loss is over the images of one process."""

    PER_PROCESS: ClassVar[bool]


@runtime_checkable
class Featured(Protocol):
    """A method that says whether its loss looks at the backbone's features beside the embeddings."""

    NEEDS_FEATURES: ClassVar[bool]


@runtime_checkable
class Fitting(Protocol):
    """A method that not every batch and embedding suits, and that knows which do."""

    def fitted(self, config: Any, batch: int, dim: int) -> tuple[Settings, int]:
        """The settings and the number of channels nearest to these that `check` takes with this batch."""
        ...


def needs_features(method: Method) -> bool:
    """Whether the loss is to be given the backbone's features of every routed view."""
    return isinstance(method, Featured) and method.NEEDS_FEATURES


def every_view(config: Any, views: int) -> Routes:
    """`routes` of a method whose student sees all views, two or more."""
    if views < 2:
        raise UserError(f"The method compares views of an image and needs at least 2; found {views}.")
    return Routes(tuple(range(views)))


def two_views(config: Any, views: int) -> Routes:
    """`routes` of a method whose student sees both of two views."""
    if views != 2:
        raise UserError(f"The method compares exactly 2 views of an image; found {views}.")
    return Routes((0, 1))


def every_view_twice(config: Any, views: int) -> Routes:
    """`routes` of a method whose student and teacher both see all views, two or more."""
    seen = every_view(config, views).student
    return Routes(seen, seen)


def no_modules(dim: int, config: Any) -> nn.ModuleDict:
    """`modules` of a method that is a function of embeddings (and of random draws) alone."""
    return nn.ModuleDict()


def any_batch(config: Any, batch: int, dim: int) -> None:
    """`check` of a method that works with every batch and embedding."""
