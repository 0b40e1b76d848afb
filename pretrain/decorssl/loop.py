"""The training loop: knows no method by name and writes no file."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from decorssl.heads import projector
from decorssl.methods import METHODS, Context, Method, Outputs
from decorssl.recipe import Recipe
from decorssl.views import Views
from transferbench import backbones
from transferbench.backbones.resnet import zero_last_norms
from transferbench.batchnorm import synchronise
from transferbench.data import LabelledImages
from transferbench.data.loading import Batch, TrainingPlans, batches
from transferbench.errors import UserError
from transferbench.optim import parameter_groups
from transferbench.runtime import Runtime, seeded


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


class Encoder(nn.Module):
    """Backbone and projector. Views go through one at a time, so batch statistics are per view (spec 1.1, [code])."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.backbone = backbones.build(recipe.backbone, recipe.seed)
        if recipe.zero_init_residual:
            zero_last_norms(self.backbone)
        with seeded(recipe.seed):
            self.projector = projector(self.backbone.width, recipe.projector)

    def forward(self, views: list[Tensor]) -> list[Tensor]:
        """One embedding `n d` for each view `n 3 h w`."""
        return [self.projector(self.backbone(view)) for view in views]


class Training:
    """One pretraining run, which can be stopped after any step, saved, and gone on with.

    All randomness is a function of (seed, epoch, image) or (seed, step, rank), so weights, optimizer state and the
    number of steps done are the whole state.
    """

    def __init__(self, recipe: Recipe, images: LabelledImages, runtime: Runtime, workers: int = 0) -> None:
        check(recipe, len(images), runtime)
        self.recipe, self.images, self.runtime, self.workers = recipe, images, runtime, workers
        self.method: Method = METHODS.load(recipe.method)
        self.encoder = Encoder(recipe)
        with seeded(recipe.seed):
            self.modules = self.method.modules(recipe.projector.output, recipe.config)
        learner = nn.ModuleDict({"encoder": self.encoder, "method": self.modules})
        self.learner = synchronise(learner, runtime).to(runtime.device)
        self.learner.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        groups = parameter_groups(self.learner, recipe.optim.weight_decay, recipe.optim.decay_vectors)
        self.optimizer = recipe.optim.optimizer(groups)
        place = (runtime.rank, runtime.world_size)
        self.plans = TrainingPlans(len(images), recipe.batch_size, recipe.epochs, recipe.seed, place)
        self.total_steps = len(self.plans)
        self.done = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the images."""
        return self.plans.steps_per_epoch

    def state(self) -> dict[str, Any]:
        """Everything a later process needs to go on from here."""
        return {
            "done": self.done,
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]

    def steps(self) -> Iterator[Step]:
        """Train, one step at a time, until the recipe's last."""
        forward = self._parallel()
        views = Views(self.recipe.views, self.recipe.preprocess)
        plans = self.plans.starting_at(self.done)
        stream = batches(self.images, views, plans, self.recipe.seed, self.workers)
        self.learner.train()
        before = time.perf_counter()
        for batch in stream:
            waited = time.perf_counter() - before
            lr = self._set_learning_rate()
            terms = self._update(forward, batch)
            self.done += 1
            epoch, now = (self.done - 1) // self.steps_per_epoch, time.perf_counter()
            yield Step(self.done, epoch, {k: v.detach() for k, v in terms.items()}, lr, now - before, waited)
            self.learner.train()
            before = time.perf_counter()

    def _update(self, forward: nn.Module, batch: Batch) -> dict[str, Tensor]:
        device, recipe = self.runtime.device, self.recipe
        views = [v.to(device, memory_format=torch.channels_last, non_blocking=True) for v in batch.views]
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            embeddings = forward(views)
        outputs = Outputs(tuple(z.float() for z in embeddings))
        terms = self.method.loss(outputs, self._context())
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        self.optimizer.step()
        return terms

    def _context(self) -> Context:
        words = np.random.SeedSequence([self.recipe.seed, self.done, self.runtime.rank]).generate_state(1, np.uint64)
        generator = torch.Generator(self.runtime.device).manual_seed(int(words[0] >> np.uint64(1)))
        config, gather, epoch = self.recipe.config, self.runtime.gather, self.done // self.steps_per_epoch
        return Context(config, self.done, self.total_steps, epoch, generator, gather, self.modules)

    def _set_learning_rate(self) -> float:
        recipe = self.recipe
        lr = recipe.optim.rate(self.done, self.steps_per_epoch, recipe.epochs, recipe.batch_size)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _parallel(self) -> nn.Module:
        """The encoder, its gradients averaged over processes when there are several."""
        if self.runtime.world_size == 1:
            return self.encoder
        return DistributedDataParallel(self.encoder, gradient_as_bucket_view=True)


def check(recipe: Recipe, images: int, runtime: Runtime) -> None:
    """Refuse, before anything is spent, numbers that do not go together."""
    if recipe.batch_size > images:
        raise UserError(
            f"batch_size {recipe.batch_size} is more than the {images} training images. "
            f"Use --set batch_size={2 ** (images.bit_length() - 1)} or less."
        )
    if recipe.batch_size % runtime.world_size:
        raise UserError(
            f"batch_size {recipe.batch_size} (the global batch) cannot be split evenly over {runtime.world_size} "
            "processes. Choose a multiple."
        )
    METHODS.load(recipe.method).check(recipe.config, recipe.batch_size // runtime.world_size, recipe.projector.output)
    if recipe.precision == "auto":
        raise ValueError("precision 'auto' must be resolved before training")
