"""Heads trained together on one pass of the frozen backbone over random crops, and pixels counted with them."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int16, Int64
from torch import Tensor

from transferbench import settings, stopping
from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.label_maps import UNCOUNTED
from transferbench.data.loading import made
from transferbench.errors import UserError
from transferbench.features.extraction import Report
from transferbench.metrics import DIVERGED
from transferbench.runtime import Runtime, drawn_seed
from transferbench.segmentation.batched_heads import Heads, Targets, without_channels
from transferbench.segmentation.dense_features import DenseFeatures
from transferbench.segmentation.examples import MaskLaw, fitted, resized_labels, truth
from transferbench.segmentation.inference import AT_ONCE, Looking, predicted
from transferbench.segmentation.linear_recipe import LinearRecipe
from transferbench.segmentation.scoring import PixelCounts, pixel_counts
from transferbench.segmentation.training_examples import StreamPlans, TrainingExamples
from transferbench.segmentation.unfinished import Unfinished

LINES = 200
"""How many lines a curve has at the most."""


@runtime_checkable
class Place(Protocol):
    """Where heads are trained; `tasks.Bench` is one."""

    @property
    def runtime(self) -> Runtime:
        """This process among its peers."""
        ...

    @property
    def scratch(self) -> Path:
        """Where the unfinished state lies."""
        ...

    @property
    def workers(self) -> int:
        """Loader processes."""
        ...

    @property
    def report(self) -> Report | None:
        """Told (done, total) of batches, then of images."""
        ...


@dataclass(frozen=True)
class Trained:
    """Heads after the last batch, and their losses now and then, averaged over the batches in between."""

    heads: Heads
    curve: tuple[tuple[int, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Segmenter:
    """A frozen backbone with the settings of heads on it.

    Raises:
        UserError: for a backbone that cannot be dilated.
    """

    candidate: Candidate
    recipe: LinearRecipe
    place: Place
    features: DenseFeatures

    @classmethod
    def of(cls, candidate: Candidate, recipe: LinearRecipe, place: Place) -> "Segmenter":
        """The backbone where the process computes, made ready once."""
        candidate.backbone.to(place.runtime.device)
        return cls(candidate, recipe, place, DenseFeatures(candidate.backbone, recipe))

    @property
    def resolution(self) -> int:
        """The side that test images are resized to, before it is brought to whole patches."""
        return self.recipe.resolution or self.candidate.card.preprocess.crop

    @property
    def side(self) -> int:
        """The side of training crops, in whole patches unless zeros are added."""
        return fitted(self.recipe.crop or self.resolution, self.recipe, self.features.side)

    def train(self, images: LabeledImages, recipe: LinearRecipe, seed: int, name: str) -> Trained:
        """Heads of `recipe` trained on the images; its `lrs` may be others than the segmenter's.

        What is unfinished lies in `place.scratch` under `name`; taken up again it ends as if never stopped.

        Raises:
            UserError: for fewer images of a batch than processes, or where no head's loss stays finite.
        """
        runtime = self.place.runtime
        if recipe.batch_size < runtime.world_size:
            raise UserError(
                f"batch_size={recipe.batch_size} for {runtime.world_size} processes. Expected one image each."
            )
        kept = Unfinished(
            self.place.scratch / "unfinished" / f"{name}.safetensors", self._identity(images, recipe, seed), runtime
        )
        fit = _Fit(self, images, recipe, seed)
        fit.restore(kept.found())
        with kept.kept_when_told_to_end(fit.state):
            for done in fit.iterations():
                kept.now_and_then(fit.state)
                if self.place.report is not None:
                    self.place.report(done, recipe.iterations)
        kept.keep(fit.state())
        runtime.barrier()
        assert fit.heads is not None
        return Trained(fit.heads, tuple(fit.curve))

    def counts(self, heads: Heads, images: LabeledImages, name: str) -> list[PixelCounts]:
        """Every head's counted pixels of every image, in order; what is unfinished lies under `name`.

        Images are decoded and looked at one at a time; several processes share them.
        """
        runtime, recipe, classes = self.place.runtime, self.recipe, len(images.info.classes)
        share = np.arange(len(images))[runtime.rank :: runtime.world_size]
        identity = f"{self._identity(images, recipe, 0)} {heads.digest()} {runtime.world_size}"
        kept = Unfinished(
            self.place.scratch / "unfinished" / f"{name}.{runtime.rank}.safetensors", identity, replace(runtime, rank=0)
        )
        table = torch.zeros(len(share), len(heads.weight), 3, classes, dtype=torch.int64)
        found = kept.found() or {"done": 0, "table": table}
        table, begun, done = found["table"], found["done"], found["done"]
        seen = {"done": begun, "table": table}
        with kept.kept_when_told_to_end(lambda: seen):
            for done in range(begun, len(share)):
                stopping.check()
                table[done] = torch.from_numpy(self._counted(heads, images, int(share[done])))
                seen["done"] = done + 1
                kept.now_and_then(lambda: seen)
                if self.place.report is not None:
                    self.place.report(done + 1, len(share))
        kept.keep(seen)
        return _gathered(table.numpy(), len(images), runtime)

    def size(self, image: Any) -> tuple[int, int]:
        """Height and width at which an image's pixels are judged."""
        if self.recipe.scored_at == "original":
            return image.height, image.width
        return self._looking().size(image)

    def judged(self, heads: Heads, images: LabeledImages, index: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """True and predicted classes of an image's pixels, head by head."""
        image = images.image(index)
        size = self.size(image)
        labels = truth(images, index, len(images.info.classes), self.recipe, image)
        labels = resized_labels(labels, size, self.recipe.resize_masks)
        views = list(self._looking().views(image))
        for head in range(len(heads.weight)):
            yield labels, predicted(heads, head, views, size)

    def _looking(self) -> Looking:
        card, recipe = self.candidate.card, self.recipe
        device = self.place.runtime.device
        return Looking(self.features, card.preprocess, recipe, recipe, self.resolution, self.side, device)

    def _counted(self, heads: Heads, images: LabeledImages, index: int) -> Int64[np.ndarray, "s 3 c"]:
        classes = len(images.info.classes)
        rows = [pixel_counts(labels, found, classes) for labels, found in self.judged(heads, images, index)]
        return np.stack([np.concatenate([row.intersection, row.labeled, row.predicted]) for row in rows])

    def _identity(self, images: LabeledImages, recipe: LinearRecipe, seed: int) -> str:
        """A sha256 of everything that fixes how training goes."""
        return settings.sha256(
            {
                "recipe": recipe.model_dump(mode="json"),
                "seed": seed,
                "digest": self.candidate.digest,
                "architecture": self.candidate.card.architecture.model_dump(mode="json"),
                "preprocess": self.candidate.card.preprocess.model_dump(mode="json"),
                "images": images.fingerprint,
            }
        )

    def pace(self, images: LabeledImages) -> tuple[float, float, int]:
        """Seconds of a training image and of a judged one here, and bytes that are held at once, from a few images."""
        few = self.recipe.model_copy(update={"iterations": 2, "batch_size": min(2, self.recipe.batch_size)})
        fit = _Fit(self, images, few, 0)
        stamps = [time.perf_counter() for _ in fit.iterations()]
        assert fit.heads is not None
        begun = time.perf_counter()
        labels, _ = next(self.judged(fit.heads, images, 0))
        judged = time.perf_counter() - begun
        classes, width = len(images.info.classes), fit.heads.weight.shape[2]
        places = (self.side // max(1, self.features.side)) ** 2 if self.features.side > 1 else self.side**2 // 64
        maps = 3 * 4 * self.recipe.batch_size * (width * places + 3 * self.side**2)
        logits = 4 * 4 * min(classes * max(labels.size, self.side**2), AT_ONCE)
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


def _gathered(share: Int64[np.ndarray, "m s 3 c"], n: int, runtime: Runtime) -> list[PixelCounts]:
    """The rows of all processes in the order of the images."""
    parts: Sequence[np.ndarray] = runtime.gather_objects(share)
    whole = np.empty((n, *share.shape[1:]), np.int64)
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return [PixelCounts(*(whole[:, head, i] for i in range(3))) for head in range(whole.shape[1])]
