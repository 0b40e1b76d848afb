"""Train a detector by a recipe, from where it was stopped if it was, and take precise statistics at the end."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from transferbench import settings, state
from transferbench.data import LabeledImages
from transferbench.detection.model.detector import Detector
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.targets.samples import Sample
from transferbench.detection.training import failures, loader, optimization, out_of_memory, precise_bn
from transferbench.runtime import Runtime, drawn_seed
from transferbench.runtime.gradients import average_gradients
from transferbench.runtime.signals import StopSignal
from transferbench.runtime.sync_batchnorm import synchronize
from transferbench.stopping import Interrupted

SAVED_EVERY = 300
"""Seconds of work that may be lost when the process is killed; an interruption loses none."""
LINES = 500
"""How many lines a curve has at the most."""


@dataclass(frozen=True)
class Ground:
    """Where a detector is trained, and who is told: `watch` after each iteration, of how many are done.

    `identity` says what is trained on what; unfinished work of another identity is not taken up.
    """

    runtime: Runtime
    scratch: Path
    identity: str
    workers: int = 0
    watch: Callable[[int], None] | None = None


def train(
    detector: Detector, images: LabeledImages, recipe: DetectionRecipe, seed: int, ground: Ground
) -> list[dict[str, Any]]:
    """Train in place; the learning curve, one line of iteration, rate and losses now and then.

    An interruption saves and raises KeyboardInterrupt; the next call with the same arguments ends exactly where an
    uninterrupted one does. What a finished training saved stays too: the next call then trains nothing.

    Raises:
        UserError: for a loss that is not finite, too little memory, or fewer images than a batch has.
    """
    training = _Training(detector, images, recipe, seed, ground)
    with out_of_memory.for_training(recipe):
        with StopSignal() as stop:
            for done in training.iterations():
                asked = stop.agreed(ground.runtime)
                training.save_if_due(done, asked or done == recipe.SOLVER.MAX_ITER)
                if asked and done < recipe.SOLVER.MAX_ITER:
                    raise Interrupted(stop.shared(ground.runtime))
                if ground.watch is not None:
                    ground.watch(done)
        if recipe.TEST.PRECISE_BN.ENABLED and not training.is_settled:
            training.settle()
            training.save()
    return training.curve


class _Training:
    def __init__(
        self, detector: Detector, images: LabeledImages, recipe: DetectionRecipe, seed: int, ground: Ground
    ) -> None:
        self.images, self.recipe, self.seed, self.ground = images, recipe, seed, ground
        runtime = ground.runtime
        optimization.require_divisible(recipe, runtime.world_size)
        if not loader.trainable(images, recipe.MODEL.MASK_ON):
            raise failures.nothing_to_learn(images.info.name, images.split)
        self.detector = cast(Detector, synchronize(detector, runtime)).to(runtime.device).train()
        self.optimizer = optimization.build_optimizer(self.detector, recipe)
        is_scaled = recipe.SOLVER.AMP.ENABLED and runtime.device.type == "cuda"
        self.scaler = torch.GradScaler(runtime.device.type, enabled=is_scaled)
        self.path = ground.scratch / "unfinished.safetensors"
        self.identity = settings.sha256({"of": ground.identity, "recipe": recipe.model_dump(mode="json"), "seed": seed})
        self.curve: list[dict[str, Any]] = []
        self.is_settled = False
        self.done = self._resumed()
        self.saved = time.monotonic()

    def iterations(self) -> Iterator[int]:
        """Do what is left, yielding how many iterations are done after each."""
        end = self.recipe.SOLVER.MAX_ITER
        for batch in self._batches(self.done, end - self.done):
            rate = optimization.factor(self.recipe, self.done)
            for group in self.optimizer.param_groups:
                group["lr"] = group["base"] * rate
            losses = self._step(batch)
            self.done += 1
            if self.done % max(1, end // LINES) == 0 or self.done == end:
                base = self.recipe.SOLVER.BASE_LR
                self.curve.append({"iteration": self.done, "lr": base * rate, **self._means(losses)})
            yield self.done

    def settle(self) -> None:
        """Precise statistics, in full precision, from the batches that training would have gone on with."""
        end, passes = self.recipe.SOLVER.MAX_ITER, self.recipe.TEST.PRECISE_BN.NUM_ITER
        numbers = count(end)

        def forward(batch: list[Sample]) -> None:
            self.detector.losses(batch, self._generators(next(numbers)))

        precise_bn.settle(self.detector, self._batches(end, passes), forward, self.ground.runtime)
        self.is_settled = True

    def save_if_due(self, done: int, is_asked: bool) -> None:
        """Save at the recipe's period, after some minutes, or when asked."""
        late = self.ground.runtime.any(time.monotonic() - self.saved > SAVED_EVERY)
        if is_asked or late or done % self.recipe.SOLVER.CHECKPOINT_PERIOD == 0:
            self.save()

    def save(self) -> None:
        """Write all that the next iteration, or the test, depends on."""
        self.saved = time.monotonic()
        if self.ground.runtime.is_main:
            parts = {"detector": self.detector, "optimizer": self.optimizer, "scaler": self.scaler}
            kept = {name: part.state_dict() for name, part in parts.items()}
            place = {"done": self.done, "settled": self.is_settled, "curve": self.curve}
            state.save(self.path, {"identity": self.identity, **place, **kept})
        self.ground.runtime.barrier()

    def _resumed(self) -> int:
        tree: dict[str, Any] = state.load(self.path) if self.path.exists() else {"identity": None}
        if tree["identity"] != self.identity:
            return 0
        self.detector.load_state_dict(tree["detector"])
        self.optimizer.load_state_dict(tree["optimizer"])
        self.scaler.load_state_dict(tree["scaler"])
        self.curve, self.is_settled = tree["curve"], tree.get("settled", False)
        return tree["done"]

    def _batches(self, first: int, number: int) -> Iterator[list[Sample]]:
        runtime = self.ground.runtime
        plan = loader.batches(self.images, self.recipe, self.seed, (runtime.rank, runtime.world_size))
        return loader.loaded(self.images, self.recipe, islice(plan, first, None), number, self.ground.workers)

    def _generators(self, iteration: int) -> list[torch.Generator]:
        """What the anchors and regions of each image are drawn from: nothing random is left to save.

        An image's depends on its place in the whole batch, not on the process that has it.
        """
        runtime = self.ground.runtime
        share = self.recipe.SOLVER.IMS_PER_BATCH // runtime.world_size
        places = range(runtime.rank * share, (runtime.rank + 1) * share)
        return [torch.Generator().manual_seed(drawn_seed(self.seed, iteration, place)) for place in places]

    def _step(self, batch: Sequence[Sample]) -> dict[str, Tensor]:
        with optimization.half(self.recipe, self.ground.runtime.device):
            losses = self.detector.losses(batch, self._generators(self.done))
        total = torch.stack(list(losses.values())).sum()
        if self.ground.runtime.any(not math.isfinite(total.item())):
            said = ", ".join(f"{name} {value.item():.3g}" for name, value in losses.items())
            raise failures.not_finite(self.recipe, self.done + 1, said)
        self.optimizer.zero_grad()
        self.scaler.scale(total).backward()
        # Before the scaler looks, so that all processes leave out a step or none does.
        average_gradients(self.detector.parameters(), self.ground.runtime, fill=True)
        self.scaler.unscale_(self.optimizer)
        optimization.clip(self.detector, self.recipe)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {name: value.detach() for name, value in losses.items()}

    def _means(self, losses: dict[str, Tensor]) -> dict[str, float]:
        values = self.ground.runtime.total(torch.stack(list(losses.values()))) / self.ground.runtime.world_size
        return dict(zip(losses, values.tolist(), strict=True))
