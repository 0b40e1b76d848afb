"""Which images an iteration trains on and how each is drawn, known in advance from sizes and a seed alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Int32

from transferbench.data import LabeledImages
from transferbench.data.loading import Plan, made
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.targets.samples import Sample
from transferbench.detection.targets.views import training_sample

AHEAD = 2
"""Batches of large images that a loader process has ready."""


@dataclass(frozen=True)
class PlannedImage:
    """One image of a batch: which, its shorter side in pixels, and whether it is mirrored."""

    index: int
    shorter: int
    flips: bool


def trainable(images: LabeledImages, with_masks: bool) -> list[int]:
    """The images with at least one object to learn (Detectron2's `FILTER_EMPTY_ANNOTATIONS`)."""
    return images.boxes.learnable(with_masks).tolist()


def stream(chosen: Sequence[int], recipe: DetectionRecipe, seed: int) -> Iterator[PlannedImage]:
    """Images without end: one random order after the other, each image with a size and a side of its own."""
    lengths = recipe.INPUT.MIN_SIZE_TRAIN
    is_range = recipe.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range"
    epoch = 0
    while True:
        rng = np.random.default_rng([seed, epoch])
        for index in rng.permutation(len(chosen)).tolist():
            drawn = rng.integers(lengths[0], lengths[1] + 1) if is_range else lengths[rng.integers(len(lengths))]
            is_flipped = bool(rng.random() < 0.5) and recipe.INPUT.RANDOM_FLIP == "horizontal"
            yield PlannedImage(chosen[index], int(drawn), is_flipped)
        epoch += 1


def batches(
    images: LabeledImages, recipe: DetectionRecipe, seed: int, place: tuple[int, int] = (0, 1)
) -> Iterator[list[PlannedImage]]:
    """This process's part of one batch after the other; `place` is (rank, world size).

    With `ASPECT_RATIO_GROUPING` a batch is filled with upright or with broad images alone, whichever is full first, so
    that little is padded (Detectron2's `AspectRatioGroupedDataset`).
    """
    rank, world_size = place
    chosen = list(range(len(images)))
    if recipe.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        chosen = trainable(images, recipe.MODEL.MASK_ON)
    share = recipe.SOLVER.IMS_PER_BATCH // world_size
    buckets: tuple[list[PlannedImage], list[PlannedImage]] = ([], [])
    for draw in stream(chosen, recipe, seed):
        height, width = images.boxes.sizes[draw.index]
        bucket = buckets[int(width > height) if recipe.DATALOADER.ASPECT_RATIO_GROUPING else 0]
        bucket.append(draw)
        if len(bucket) == recipe.SOLVER.IMS_PER_BATCH:
            yield bucket[rank * share : (rank + 1) * share]
            bucket.clear()


def loaded(
    images: LabeledImages, recipe: DetectionRecipe, plan: Iterator[list[PlannedImage]], count: int, workers: int
) -> Iterator[list[Sample]]:
    """The next `count` batches of a plan, decoded, by `workers` loader processes.

    Raises:
        UserError: naming the image that cannot be decoded, or the batch at which a loader process died.
    """
    plans = _Plans(_table(plan, count))
    yield from made(images, _Samples(images, recipe), plans, workers=workers, ahead=AHEAD)


def _table(plan: Iterator[list[PlannedImage]], count: int) -> Int32[np.ndarray, "b share 3"]:
    """The next draws as an array of batches, which loader processes share: a million objects would be copied."""
    draws = (draw for batch in islice(plan, count) for draw in batch)
    words = np.fromiter((word for draw in draws for word in (draw.index, draw.shorter, draw.flips)), np.int32)
    return words.reshape(count, len(words) // max(1, 3 * count), 3)


@dataclass(frozen=True)
class _Drawn(Plan):
    """A batch of images, each with its shorter side and whether it is mirrored: `rows` are those of `_table`."""

    rows: Int32[np.ndarray, "share 3"]

    @property
    def place(self) -> str:
        return "the detector's training"


class _Plans:
    """The batches of a table, worked out when asked for."""

    def __init__(self, table: Int32[np.ndarray, "b share 3"]) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> _Drawn:
        rows = self.table[index]
        return _Drawn(0, rows[:, 0].astype(np.int64), rows)


@dataclass(frozen=True)
class _Samples:
    """Makes a batch of samples to train on."""

    images: LabeledImages
    recipe: DetectionRecipe

    def __call__(self, plan: _Drawn) -> list[Sample]:
        longest, with_masks = self.recipe.INPUT.MAX_SIZE_TRAIN, self.recipe.MODEL.MASK_ON
        return [
            training_sample(self.images, index, (shorter, longest), bool(flips), with_masks)
            for index, shorter, flips in plan.rows.tolist()
        ]
