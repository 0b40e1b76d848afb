"""Heads trained together on one pass of the frozen backbone over random crops."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int16
from torch import Tensor

from transferbench.data import LabeledImages
from transferbench.data.label_maps import UNCOUNTED
from transferbench.data.loading import made
from transferbench.errors import UserError
from transferbench.metrics import DIVERGED
from transferbench.runtime import drawn_seed
from transferbench.segmentation.batched_heads import Heads, Targets, without_channels
from transferbench.segmentation.examples import MaskLaw, resized_labels
from transferbench.segmentation.inference import AT_ONCE
from transferbench.segmentation.linear_recipe import LinearRecipe
from transferbench.segmentation.segmenter import Segmenter
from transferbench.segmentation.training_examples import StreamPlans, TrainingExamples
from transferbench.segmentation.unfinished import Unfinished

LINES = 200
"""How many lines a curve has at the most."""
FINE = 8
"""Pixels of a place of a stage map, as far as a forecast needs them."""


@dataclass(frozen=True)
class Trained:
    """Heads after the last batch, and their losses now and then, averaged over the batches in between."""

    heads: Heads
    curve: tuple[tuple[int, tuple[float, ...]], ...]


def train(segmenter: Segmenter, images: LabeledImages, recipe: LinearRecipe, seed: int, name: str) -> Trained:
    """Heads of `recipe` trained on the images; its `lrs` may be others than the segmenter's.

    What is unfinished lies in its scratch folder under `name`; taken up again it ends as if never stopped.

    Raises:
        UserError: for fewer images of a batch than processes, or where no head's loss stays finite.
    """
    runtime = segmenter.place.runtime
    if recipe.batch_size < runtime.world_size:
        raise UserError(f"batch_size={recipe.batch_size} for {runtime.world_size} processes. Expected one image each.")
    path = segmenter.place.scratch / "unfinished" / f"{name}.safetensors"
    kept = Unfinished(path, segmenter.identity(images, recipe, seed), runtime)
    fit = _Fit(segmenter, images, recipe, seed)
    fit.restore(kept.found())
    with kept.kept_when_told_to_end(fit.state):
        for done in fit.iterations():
            kept.now_and_then(fit.state)
            if segmenter.place.report is not None:
                segmenter.place.report(done, recipe.iterations)
    kept.keep(fit.state())
    runtime.barrier()
    assert fit.heads is not None
    return Trained(fit.heads, tuple(fit.curve))


def pace(segmenter: Segmenter, images: LabeledImages) -> tuple[float, float, int]:
    """Seconds of a training image and of a judged one here, and bytes that are held at once, from a few images."""
    few = segmenter.recipe.model_copy(update={"iterations": 2, "batch_size": min(2, segmenter.recipe.batch_size)})
    fit = _Fit(segmenter, images, few, 0)
    stamps = [time.perf_counter() for _ in fit.iterations()]
    assert fit.heads is not None
    begun = time.perf_counter()
    labels, _ = next(segmenter.judged(fit.heads, images, 0))
    judged = time.perf_counter() - begun
    classes, width = len(images.info.classes), fit.heads.weight.shape[2]
    places = segmenter.side**2 // max(segmenter.features.side, FINE) ** 2
    maps = 3 * 4 * segmenter.recipe.batch_size * (width * places + 3 * segmenter.side**2)
    logits = 4 * 4 * min(classes * max(labels.size, segmenter.side**2), AT_ONCE)
    return (stamps[1] - stamps[0]) / few.batch_size, judged, maps + logits


class _Fit:
    """Heads in training."""

    def __init__(self, segmenter: Segmenter, images: LabeledImages, recipe: LinearRecipe, seed: int) -> None:
        self.segmenter, self.images, self.recipe, self.seed = segmenter, images, recipe, seed
        self.heads: Heads | None = None
        self.curve: list[tuple[int, tuple[float, ...]]] = []
        self.sums = torch.zeros(len(recipe.lrs), dtype=torch.float64)
        self.done = self.summed = 0

    def iterations(self) -> Iterator[int]:
        """Train batch by batch; yields how many are done."""
        segmenter, recipe, runtime = self.segmenter, self.recipe, self.segmenter.place.runtime
        examples = TrainingExamples(
            self.images, segmenter.candidate.card.preprocess, recipe, recipe, recipe,
            segmenter.resolution, segmenter.side, segmenter.features.side, self.seed,
        )  # fmt: skip
        place = (runtime.rank, runtime.world_size)
        plans = StreamPlans(len(self.images), recipe.batch_size, self.done, recipe.iterations, self.seed, place)
        for pixels, labels in made(self.images, examples, plans, self.seed, segmenter.place.workers):
            self._step(pixels.to(runtime.device), labels)
            yield self.done

    def _step(self, pixels: Tensor, labels: Int16[Tensor, "b s s"]) -> None:
        runtime = self.segmenter.place.runtime
        maps = self.segmenter.features(pixels)
        heads = self._heads(maps.shape[1], maps.device)
        maps = without_channels(maps, self.recipe, drawn_seed(self.seed, self.done), (runtime.rank, runtime.world_size))
        wanted = at_places(labels, tuple(maps.shape[2:]), self.recipe.trained_at, self.recipe.resize_masks)
        targets = Targets.of(wanted.to(maps.device, torch.int64), self.recipe, runtime.total)
        losses = heads.step(maps, targets, self.recipe.rates(self.done))
        self.sums += losses.cpu()
        self.done, self.summed = self.done + 1, self.summed + 1
        if self.done % max(1, self.recipe.iterations // LINES) == 0 or self.done == self.recipe.iterations:
            self._note()

    def _note(self) -> None:
        """A line of the curve.

        Raises:
            UserError: where no head's loss is finite.
        """
        means = tuple((self.sums / self.summed).tolist())
        if not any(math.isfinite(loss) for loss in means):
            rates = ", ".join(f"{lr:g}" for lr in self.recipe.lrs)
            raise UserError(
                f"The training loss became {means[0]} at iteration {self.done} with each learning rate, {rates}. Lower "
                f"them, lrs. If that is of no use, {DIVERGED}"
            )
        self.curve.append((self.done, means))
        self.sums, self.summed = torch.zeros_like(self.sums), 0

    def _heads(self, width: int, device: torch.device) -> Heads:
        if self.heads is None:
            classes = len(self.images.info.classes)
            self.heads = Heads.first(self.recipe, len(self.recipe.lrs), classes, width, self.seed, device)
        return self.heads

    def state(self) -> dict[str, Any]:
        """All that the next batch depends on."""
        heads = None if self.heads is None else self.heads.state()
        width = 0 if self.heads is None else self.heads.weight.shape[2]
        curve = [[at, list(losses)] for at, losses in self.curve]
        still = {"done": self.done, "sums": self.sums, "summed": self.summed, "curve": curve}
        return {"heads": heads, "width": width, **still}

    def restore(self, tree: Any) -> None:
        """Take up what `state` gave; nothing where it is None."""
        if tree is None or tree["heads"] is None:
            return
        self._heads(tree["width"], self.segmenter.place.runtime.device).restore(tree["heads"])
        self.done, self.sums, self.summed = tree["done"], tree["sums"], tree["summed"]
        self.curve = [(at, tuple(losses)) for at, losses in tree["curve"]]


def at_places(labels: Int16[Tensor, "b s s"], size: tuple[int, ...], how: str, law: MaskLaw) -> Int16[Tensor, "b h w"]:
    """The labels that a loss compares with: those of pixels, or one a place of the features.

    `majority`: a place is of the class that most of its pixels are, the first of equal ones, and not counted where
    more of them have none.
    """
    if how == "pixels":
        return labels
    rows, columns = size
    if how == "places":
        return torch.from_numpy(np.stack([resized_labels(each, (rows, columns), law) for each in labels.numpy()]))
    n, height, width = labels.shape
    down, right = torch.arange(height) * rows // height, torch.arange(width) * columns // width
    cells = (down[:, None] * columns + right).flatten()
    classes = int(labels.max()) + 2
    votes = torch.zeros(n, rows * columns * classes, dtype=torch.int64)
    which = labels.flatten(1).long() % classes  # what is not counted comes last
    votes.scatter_add_(1, cells * classes + which, torch.ones_like(which))
    best = votes.view(n, rows, columns, classes).argmax(3)
    return torch.where(best == classes - 1, UNCOUNTED, best).to(torch.int16)
