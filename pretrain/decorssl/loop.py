"""The training loop: knows no method by name and writes no file."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from decorssl import view_pipeline
from decorssl.checks import check
from decorssl.encoder import Encoder
from decorssl.fused import small_maps
from decorssl.methods import METHODS, Context, Keeping, Method, Outputs, Taught, needs_features
from decorssl.passes import GradCache, Passes, Prepare, Whole, features_in_parts
from decorssl.recipe import Recipe
from decorssl.teacher import follow
from decorssl.uniformity import w2
from decorssl.view_pipeline import Way
from decorssl.views import Views
from transferbench.data import LabeledImages
from transferbench.data.loading import Batch, TrainingPlans
from transferbench.runtime import Runtime, drawn_seed, seeded
from transferbench.runtime.gradients import average_gradients
from transferbench.runtime.sync_batchnorm import synchronize


@dataclass(frozen=True)
class Step:
    """One finished step. `terms` are the loss and its parts, still on the device."""

    index: int
    epoch: int
    terms: dict[str, Tensor]
    lr: float
    seconds: float
    waited: float
    """How much of `seconds` went by waiting for images."""
    embeddings: tuple[Tensor, ...]
    """Embeddings of this process's part of the batch: one tensor `n d` per view the student saw, without gradient."""
    features: tuple[Tensor, ...] = ()
    """What the backbone made of the same views, `n width`, without gradient."""
    labels: Tensor | None = None
    """Of the images of this process's part, `n`; -1 for one without."""


@runtime_checkable
class Companion(Protocol):
    """Something that learns beside a run without touching it, and is saved and resumed with it."""

    def state_dict(self) -> dict[str, Any]:
        """All that it has learned."""
        ...

    def load_state_dict(self, state: Any) -> None:
        """Go on from there."""
        ...


class Training:
    """One pretraining run, which can be stopped after any step, saved, and resumed.

    All randomness is a function of (seed, epoch, image) or (seed, step, rank), so weights, optimizer state and the
    number of steps done are the whole state. `teacher` is the encoder's momentum copy where the method routes views to
    one: it stays in training mode, with batch statistics and running averages of its own (docs/methods.md#teachers).
    `prepare` is given the network before its first step, and what it gives back takes the forward passes.
    `companions` learn from the steps and change nothing in them; their states are saved beside the run's.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: LabeledImages,
        runtime: Runtime,
        workers: int = 0,
        way: Way = "auto",
        prepare: Prepare = lambda network: network,
    ) -> None:
        check(recipe, len(images), runtime)
        self.way: Way = way
        self.prepare = prepare
        self.recipe, self.images, self.runtime, self.workers = recipe, images, runtime, workers
        self.method: Method = METHODS.load(recipe.method)
        self.routes = self.method.routes(recipe.config, len(recipe.views))
        self.encoder = Encoder(recipe)
        with seeded(recipe.seed):
            self.modules = self.method.modules(recipe.projector.output, recipe.config)
        learner = nn.ModuleDict({"encoder": self.encoder, "method": self.modules})
        self.learner = synchronize(learner, runtime).to(runtime.device)
        self.learner.to(memory_format=torch.channels_last)
        small_maps.prepare(self.encoder)
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False) if self.routes.teacher else None
        self.optimizer = recipe.optim.optimizer(self.learner)
        place = (runtime.rank, runtime.world_size)
        self.plans = TrainingPlans(len(images), recipe.batch_size, recipe.epochs, recipe.seed, place)
        self.total_steps = len(self.plans)
        self.done = 0
        self.companions: dict[str, Companion] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the images."""
        return self.plans.steps_per_epoch

    def state(self) -> dict[str, Any]:
        """Everything a later process needs to resume from here."""
        teacher = {"teacher": self.teacher.state_dict()} if self.teacher else {}
        companions = {name: each.state_dict() for name, each in self.companions.items()}
        return {
            "done": self.done,
            "processes": self.runtime.world_size,
            "data": {"images": len(self.images), "fingerprint": self.images.fingerprint},
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **teacher,
            **({"companions": companions} if companions else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a saved state. A companion that it does not hold begins here; one that is not wanted is left."""
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.teacher:
            self.teacher.load_state_dict(state["teacher"])
        for name in self.companions.keys() & state.get("companions", {}).keys():
            self.companions[name].load_state_dict(state["companions"][name])
        self.done = state["done"]

    def steps(self) -> Iterator[Step]:
        """Train, one step at a time, until the recipe's last."""
        passes = self._passes()
        for views, plans in self._stages():
            source = view_pipeline.supply(self.images, views, self.recipe.seed, self.runtime.device, self.way)
            stream = view_pipeline.batches(self.images, source, plans, self.recipe.seed, self.workers)
            self.learner.train()
            before = time.perf_counter()
            for batch in stream:
                waited = time.perf_counter() - before
                lr = self._set_learning_rate()
                terms, embeddings = self._update(passes, batch)
                self.done += 1
                epoch, now = (self.done - 1) // self.steps_per_epoch, time.perf_counter()
                seen = (tuple(passes.features), batch.labels)
                yield Step(self.done, epoch, terms, lr, now - before, waited, embeddings, *seen)
                self.learner.train()
                before = time.perf_counter()

    def _stages(self) -> Iterator[tuple[Views, TrainingPlans]]:
        """The steps still to be made, in runs of views of the same size."""
        for last, scale in self.recipe.growing:
            plans = self.plans.between(self.done, last * self.steps_per_epoch)
            if len(plans):
                yield Views(tuple(view.scaled(scale) for view in self.recipe.views), self.recipe.preprocess), plans

    def _update(self, passes: Passes, batch: Batch) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """One step of the optimizer, and of what the method keeps beside it: (terms, embeddings), detached.

        A matrix that cannot be factored gives a loss of NaN and no step.
        """
        outputs, context = self._outputs(passes, batch), self._context()
        embeddings = tuple(z.detach() for z in outputs.student)
        try:
            terms = self._terms(outputs, context)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            return {"loss": torch.tensor(float("nan"))}, embeddings
        self.optimizer.zero_grad(set_to_none=True)
        passes.backward(terms["loss"] * self.recipe.optim.loss_weight)
        average_gradients((self.modules if passes.averages else self.learner).parameters(), self.runtime)
        self.optimizer.step()
        with torch.no_grad():
            self._follow(replace(outputs, student=embeddings), context)
        return {name: value.detach() for name, value in terms.items()}, embeddings

    def _terms(self, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """The method's terms, and the recipe's own."""
        terms, uniformity = self.method.loss(outputs, context), self.recipe.uniformity
        if uniformity is None:
            return terms
        distance = w2([context.gather(z) for z in outputs.student], uniformity.eps)
        total = terms["loss"] + uniformity.at(context.epoch, context.epochs) * distance
        return {**terms, "loss": total, "w2": distance}

    def _outputs(self, passes: Passes, batch: Batch) -> Outputs:
        device = self.runtime.device
        views = [v.to(device, memory_format=torch.channels_last, non_blocking=True) for v in batch.views]
        seen = passes.forward([views[i] for i in self.routes.student])
        taught, features = self._taught([views[i] for i in self.routes.teacher]) if self.teacher else ([], [])
        wanted = [passes.features, features] if needs_features(self.method) else []
        return Outputs(*(tuple(z.float() for z in part) for part in (seen, taught, *wanted)))

    @torch.no_grad()
    def _taught(self, views: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """What the teacher makes of each view: (embeddings, features)."""
        assert self.teacher
        with self._precision():
            network = self.teacher.features
            features = network(views) if self._part is None else features_in_parts(network, views, self._part)
            whitened = self.teacher.whitened(features)
            return self.teacher.project(whitened), whitened

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.runtime.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16")

    def _follow(self, outputs: Outputs, context: Context) -> None:
        """After a step: the teacher moves towards the student, then the method's own keeping."""
        if self.teacher:
            assert isinstance(self.method, Taught)
            follow(self.teacher, self.encoder, self.method.momentum(context))
        if isinstance(self.method, Keeping):
            self.method.after_step(outputs, context)

    def _context(self) -> Context:
        seed = drawn_seed(self.recipe.seed, self.done, self.runtime.rank)
        generator = torch.Generator(self.runtime.device).manual_seed(seed)
        recipe, epoch = self.recipe, self.done // self.steps_per_epoch
        place = (self.done, self.total_steps, epoch, recipe.epochs)
        return Context(recipe.config, *place, generator, self.runtime.gather, self.modules)

    def _set_learning_rate(self) -> float:
        recipe = self.recipe
        place = (self.done, self.steps_per_epoch, recipe.epochs, recipe.batch_size)
        return recipe.optim.set_rate(self.optimizer, *place)

    @property
    def _part(self) -> int | None:
        """How many images this process sends through the backbone at a time; None: all."""
        size = self.recipe.micro_batch_size
        return None if size is None else size // self.runtime.world_size

    def _passes(self) -> Passes:
        if self._part is None:
            return Whole(self.encoder, self.runtime, self._precision, self.prepare)
        return GradCache(self.encoder, self._part, self._precision, self.prepare)
