"""A method as an `nn.Module`: the embeddings of a batch in, the loss out, by the function that `pretrain` calls."""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic.fields import FieldInfo
from torch import Tensor, nn

from decorssl.losses.embeddings import (
    checked,
    exact,
    require_features,
    require_precision,
    require_routes,
    require_sizes,
)
from decorssl.losses.progress import Progress
from decorssl.methods import METHODS, Context, Keeping, Method, Outputs, Taught, no_modules
from transferbench.errors import UserError
from transferbench.runtime import Runtime, generator_of, joined
from transferbench.runtime.sync_batchnorm import synchronize
from transferbench.settings import read

BEGIN = Progress(0, 1, 1)
FORGOTTEN = 100
"""So many passes for one step of the optimizer nobody makes."""


class Loss(nn.Module):
    """What all losses have. A class that names a method, `method="intl"`, has its settings as keyword arguments.

    Embeddings are `n d`, a row an image of this process's part of the batch and the same rows in every view; the loss
    has no unit, is differentiable, and is float32 (float64 for float64) inside autocast too.

    Where a process group has been started, embeddings are gathered over it, and gradients are those of one process
    with the whole batch once they are averaged, as DistributedDataParallel averages them; `PER_PROCESS` methods are
    over the images of a process, as published. Every process must hold equally many images. Random draws are of
    torch's own generator, which `torch.manual_seed` seeds.

    Attributes:
        config: the settings, checked.
        own: the method's own networks and buffers (a predictor, a queue), which `parameters()` and `state_dict()` hold.
        terms: the parts of the latest loss by name, without gradient.
    """

    method: ClassVar[Method]
    keeps: ClassVar[bool]
    """Whether `after_step` does anything."""

    def __init_subclass__(cls, method: str | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if method is not None:
            cls.method = METHODS.load(method)
            cls.keeps = isinstance(cls.method, Keeping)
            cls.__signature__ = _signature(cls.method)
            cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n\nArgs:\n{_arguments(cls.method)}"

    def __init__(self, dim: int | None = None, **settings: Any) -> None:
        super().__init__()
        has_modules = self.method.modules is not no_modules
        if has_modules != (dim is not None):
            expected = "dim=, the channels of an embedding" if has_modules else "settings alone and no dim"
            raise UserError(f"{type(self).__name__}: found dim={dim}. Expected {expected}.")
        try:
            self.config = read(self.method.Config, settings)
        except UserError as error:
            raise UserError(f"{type(self).__name__}: {error}") from None
        self.dim = dim
        self.own = nn.ModuleDict() if dim is None else self.method.modules(dim, self.config)
        self.terms: dict[str, Tensor] = {}
        self._latest: tuple[Outputs, Progress] | None = None
        self._passes = 0
        self._fitting: set[tuple[int, int]] = set()
        self._synchronized = False

    def extra_repr(self) -> str:
        """The settings."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config)

    def after_step(self) -> None:
        """To be called after the optimizer's step: queues take the latest batch, centers and prototypes move.

        Losses that keep nothing do nothing.
        """
        self._passes = 0
        if isinstance(self.method, Keeping) and self._latest is not None:
            (outputs, now), self._latest = self._latest, None
            with torch.no_grad():
                self.method.after_step(outputs, self._context(now, joined(outputs.student[0].device)))

    def needs_progress(self) -> bool:
        """Whether the loss itself changes in the course of a run, so that `now` must be given."""
        return False

    def evaluate(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        now: Progress | None,
        student_features: Sequence[Tensor] = (),
        teacher_features: Sequence[Tensor] = (),
    ) -> Tensor:
        """The loss of embeddings by the network that they come from. Call the module, which calls this."""
        name = type(self).__name__
        n, d = checked(name, self.dim, student, teacher)
        counts = len(student), len(teacher)
        if counts not in self._fitting:
            require_routes(name, self.method, self.config, *counts)
            self._fitting.add(counts)
        if now is None and self.needs_progress():
            raise UserError(
                f"{name} changes in the course of a run. Expected now=Progress(step, steps_per_epoch, epochs)."
            )
        require_sizes(name, self.method, self.config, n, d)
        features = {"student_features": student_features, "teacher_features": teacher_features}
        require_features(name, self.method, features, dict(zip(features, counts, strict=True)), n)
        fixed = (tuple(z.detach() for z in exact(part)) for part in (teacher, *features.values()))
        outputs = Outputs(exact(student), *fixed)
        require_precision(name, self.own, (*outputs.student, *outputs.teacher))
        runtime = joined(student[0].device)
        self._synchronize(runtime)
        terms = self.method.loss(outputs, self._context(now or BEGIN, runtime))
        self.terms = {key: value.detach() for key, value in terms.items()}
        if self.keeps and self.training:
            self._remember(replace(outputs, student=tuple(z.detach() for z in outputs.student)), now or BEGIN)
        return terms["loss"]

    def _remember(self, outputs: Outputs, now: Progress) -> None:
        self._latest = outputs, now
        self._passes += 1
        if self._passes == FORGOTTEN:
            warnings.warn(
                f"{type(self).__name__}: {FORGOTTEN} passes without after_step(), so what it keeps of past batches "
                "stands still. Call it after each step of the optimizer.",
                stacklevel=5,
            )

    def _context(self, now: Progress, runtime: Runtime) -> Context:
        place = (now.step, now.total_steps, now.epoch, now.epochs)
        return Context(self.config, *place, generator_of(runtime.device), runtime.gather, self.own)

    def _synchronize(self, runtime: Runtime) -> None:
        """Batch normalization in the method's own networks sees the global batch, as `pretrain`'s does."""
        if runtime.world_size > 1 and not self._synchronized:
            for name, module in self.own.items():
                self.own[name] = synchronize(module, runtime)
            self._synchronized = True


class ViewsLoss(Loss):
    """A loss of embeddings of several views by one network."""

    def forward(
        self, *views: Tensor, now: Progress | None = None, student_features: Tensor | Sequence[Tensor] = ()
    ) -> Tensor:
        """The loss.

        Args:
            views: embeddings, `n d` each, one tensor a view, with the same image in the same row.
            now: how far the run is; needed by losses with a schedule, and no others look at it.
            student_features: what the backbone made of the same views, `n w`, where the class asks for it.

        Raises:
            UserError: for shapes, numbers of views, or a batch that the method cannot work with.
            torch.linalg.LinAlgError: when a covariance cannot be factored, as one with infinite or NaN elements.
        """
        return self.evaluate(views, (), now, _each(student_features))


class TeacherLoss(Loss):
    """A loss of a student's embeddings with those of a teacher, a slowly following copy of it."""

    def forward(
        self,
        student: Tensor | Sequence[Tensor],
        teacher: Tensor | Sequence[Tensor],
        now: Progress | None = None,
        student_features: Tensor | Sequence[Tensor] = (),
        teacher_features: Tensor | Sequence[Tensor] = (),
    ) -> Tensor:
        """The loss.

        Args:
            student: embeddings by the network that is trained, `n d`, one tensor a view.
            teacher: embeddings by the teacher, which get no gradient; which views, the class says.
            now: how far the run is; needed by losses with a schedule, and no others look at it.
            student_features: what the student's backbone made of its views, `n w`, where the class asks for it; no
                gradient flows into it.
            teacher_features: the same of the teacher's views.

        Raises:
            UserError: for shapes, numbers of views, or a batch that the method cannot work with.
            torch.linalg.LinAlgError: when a matrix cannot be factored, as one with infinite or NaN elements.
        """
        return self.evaluate(_each(student), _each(teacher), now, _each(student_features), _each(teacher_features))

    def momentum(self, now: Progress) -> float:
        """For `follow(teacher, student, momentum)` after the step `now`, by the method's schedule."""
        assert isinstance(self.method, Taught)
        return self.method.momentum(self._context(now, Runtime(torch.device("cpu"))))


def _each(views: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One tensor a view, also where there is but one."""
    return (views,) if isinstance(views, Tensor) else tuple(views)


def _signature(method: Method) -> inspect.Signature:
    """`dim` where the method has networks of its own, and its settings with their defaults."""
    own = (
        []
        if method.modules is no_modules
        else [inspect.Parameter("dim", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=int)]
    )
    fields: dict[str, FieldInfo] = method.Config.model_fields
    keyword = inspect.Parameter.KEYWORD_ONLY
    given = [
        inspect.Parameter(name, keyword, default=each.default, annotation=each.annotation)
        for name, each in fields.items()
    ]
    return inspect.Signature([*own, *given])


def _arguments(method: Method) -> str:
    """A line for each."""
    own = [] if method.modules is no_modules else ["    dim: channels of an embedding."]
    fields: dict[str, FieldInfo] = method.Config.model_fields
    return "\n".join([*own, *(f"    {name}: {each.description}." for name, each in fields.items())]) or "    None."
