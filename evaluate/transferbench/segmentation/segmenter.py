"""A frozen backbone with heads on it: the classes of images' pixels, and how many of them are right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64

from transferbench import settings, stopping
from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.features.extraction import Report
from transferbench.runtime import Runtime
from transferbench.segmentation.batched_heads import Heads
from transferbench.segmentation.dense_features import DenseFeatures
from transferbench.segmentation.examples import fitted, resized_labels, truth
from transferbench.segmentation.inference import Looking, predicted
from transferbench.segmentation.linear_recipe import LinearRecipe
from transferbench.segmentation.scoring import PixelCounts, pixel_counts
from transferbench.segmentation.unfinished import Unfinished


@runtime_checkable
class HeadContext(Protocol):
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
class Segmenter:
    """A frozen backbone with the settings of heads on it.

    Raises:
        UserError: for a backbone that cannot be dilated.
    """

    candidate: Candidate
    recipe: LinearRecipe
    place: HeadContext
    features: DenseFeatures

    @classmethod
    def of(cls, candidate: Candidate, recipe: LinearRecipe, place: HeadContext) -> "Segmenter":
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

    def counts(self, heads: Heads, images: LabeledImages, name: str) -> list[PixelCounts]:
        """Every head's counted pixels of every image, in order; what is unfinished lies under `name`.

        Images are decoded and looked at one at a time; several processes share them.
        """
        runtime, recipe, classes = self.place.runtime, self.recipe, len(images.info.classes)
        share = np.arange(len(images))[runtime.rank :: runtime.world_size]
        identity = f"{self.identity(images, recipe, 0)} {heads.digest()} {runtime.world_size}"
        path = self.place.scratch / "unfinished" / f"{name}.{runtime.rank}.safetensors"
        kept = Unfinished(path, identity, replace(runtime, rank=0))
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
        return self.looking().size(image)

    def judged(self, heads: Heads, images: LabeledImages, index: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """True and predicted classes of an image's pixels, head by head."""
        image = images.image(index)
        size = self.size(image)
        labels = truth(images, index, len(images.info.classes), self.recipe, image)
        labels = resized_labels(labels, size, self.recipe.resize_masks)
        views = list(self.looking().views(image))
        for head in range(len(heads.weight)):
            yield labels, predicted(heads, head, views, size)

    def looking(self) -> Looking:
        """What makes views of images."""
        card, recipe = self.candidate.card, self.recipe
        device = self.place.runtime.device
        return Looking(self.features, card.preprocess, recipe, recipe, self.resolution, self.side, device)

    def _counted(self, heads: Heads, images: LabeledImages, index: int) -> Int64[np.ndarray, "s 3 c"]:
        classes = len(images.info.classes)
        rows = [pixel_counts(labels, found, classes) for labels, found in self.judged(heads, images, index)]
        return np.stack([np.concatenate([row.intersection, row.labeled, row.predicted]) for row in rows])

    def identity(self, images: LabeledImages, recipe: LinearRecipe, seed: int) -> str:
        """A sha256 of everything that fixes how training on the images goes."""
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


def _gathered(share: Int64[np.ndarray, "m s 3 c"], n: int, runtime: Runtime) -> list[PixelCounts]:
    """The rows of all processes in the order of the images."""
    parts: Sequence[np.ndarray] = runtime.gather_objects(share)
    _, heads, kinds, classes = share.shape
    whole = np.empty((n, heads, kinds, classes), np.int64)
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return [PixelCounts(*(whole[:, head, kind] for kind in range(kinds))) for head in range(heads)]
