"""Which patches of training images are remembered: settled by their label maps alone, before any image is read."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from pydantic import Field

from transferbench import stopping
from transferbench.errors import UserError
from transferbench.runtime import Runtime
from transferbench.segmentation.dense_features import DenseFeatures
from transferbench.segmentation.dense_neighbors import Codes, Coding, Vote, counted, patched, rarest
from transferbench.segmentation.patch_views import Views
from transferbench.settings import Settings


class Remembering(Settings):
    """Which patches are remembered, and how."""

    vote: Vote = Field(
        "pixels",
        description="pixels: the commonest class at each pixel of the neighbors, patches whose commonest class is "
        "uncounted left out; shares: the classes' shares of neighbors weighted by exp(cosine / temperature), resized",
    )
    uncounted: bool = Field(
        True,
        description="training pixels without a class vote for one more class; false: for what the files number 0",
    )
    augmented_passes: int = Field(
        0, ge=0, description="passes over augmented training images; 0: one over them as they are"
    )
    memory_patches: int | None = Field(
        None, ge=1, description="patches remembered at most, equally many an image, rare classes first; none: all"
    )
    standardize: bool = Field(
        True, description="take off each feature's mean and divide by its deviation over training patches"
    )

    def coding(self, views: Views) -> Coding:
        """How classes are numbered in a split."""
        classes = len(views.images.info.classes)
        if views.images.maps.reduces(views.rule):
            return Coding(classes, 0)
        return Coding(classes, classes if self.uncounted else None)


@dataclass(frozen=True)
class Shown:
    """The training images, each with its epoch, in the order they are remembered in; the `first` ones teach."""

    epochs: Int64[np.ndarray, "n"]
    indices: Int64[np.ndarray, "n"]
    first: int

    @classmethod
    def of(cls, epochs: int, taught: Int64[np.ndarray, "t"], held_out: Int64[np.ndarray, "h"]) -> "Shown":
        """All epochs of the ones, then all of the others."""
        numbers = np.arange(max(1, epochs))
        parts = [(np.repeat(numbers, len(each)), np.tile(each, len(numbers))) for each in (taught, held_out)]
        epochs_of, indices = (np.concatenate(each) for each in zip(*parts, strict=True))
        return cls(epochs_of, indices, len(parts[0][0]))

    def mine(self, runtime: Runtime) -> Int64[np.ndarray, "m"]:
        """This process's contiguous share of them, by number."""
        return np.array_split(np.arange(len(self.indices)), runtime.world_size)[runtime.rank]


@dataclass(frozen=True)
class Grain:
    """Pixels that a patch is high and wide, and how many features it has."""

    height: int
    width: int
    features: int

    @classmethod
    def of(cls, dense: DenseFeatures, views: Views, device: torch.device) -> "Grain":
        """That of a backbone, found with the first image.

        Raises:
            UserError: where places do not divide it evenly.
        """
        _, images = next(views.batches(np.zeros(1, np.int64), np.zeros(1, np.int64), 0))
        maps = dense(images.to(device))
        (height, width), (rows, columns) = images.shape[2:], maps.shape[2:]
        patched(np.zeros((height, width), np.uint8), rows, columns)
        return cls(height // rows, width // columns, maps.shape[1])


@dataclass(frozen=True)
class Kept:
    """Which patches of each image shown are remembered, by position, and their `Memory.labels`."""

    grain: Grain
    positions: list[Int64[np.ndarray, "_"]]
    labels: Codes

    @property
    def starts(self) -> Int64[np.ndarray, "_"]:
        """The row of the memory that each image's patches begin at, and at last how many rows there are."""
        return np.cumsum([0, *map(len, self.positions)])


def kept(views: Views, shown: Shown, rule: Remembering, grain: Grain, runtime: Runtime) -> Kept:
    """What is remembered of each image, by its label map alone; the same in every process.

    Args:
        views: the training images.
        shown: their order.
        rule: how many and which.
        grain: the size of a patch.
        runtime: the processes, which share the label maps.

    Raises:
        UserError: for label maps that do not fit, or when no patch is left.
    """
    coding = rule.coding(views)
    quota = rule.memory_patches and max(1, rule.memory_patches // len(shown.indices))
    positions, labels = [], []
    for number in shown.mine(runtime).tolist():
        stopping.check()
        epoch, index = int(shown.epochs[number]), int(shown.indices[number])
        codes = coding.codes(views.labels(index, epoch))
        pixels = patched(codes, codes.shape[0] // grain.height, codes.shape[1] // grain.width)
        counts = counted(pixels, coding.size)
        chosen = np.arange(len(pixels))
        if rule.vote == "pixels" and coding.void is not None:
            chosen = chosen[counts.argmax(1) != coding.void]
        if quota:
            chosen = chosen[rarest(counts[chosen], quota, np.random.default_rng([views.seed, epoch, index]))]
        positions.append(chosen)
        labels.append((pixels if rule.vote == "pixels" else counts)[chosen])
    parts = runtime.gather_objects((positions, np.concatenate(labels) if labels else None))
    found = np.concatenate([each for _, each in parts if each is not None])
    if not len(found):
        raise UserError(
            f"No patch of the {len(views.images)} training images has a class. Expected label maps that hold numbers "
            "of classes: check `ignore_index` and `reduce_labels`."
        )
    return Kept(grain, [each for some, _ in parts for each in some], found)
