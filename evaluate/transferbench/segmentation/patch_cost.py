"""What a memory of patches takes, before any is remembered: bytes, and seconds by a look at one image."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from transferbench import neighbors
from transferbench.runtime.clock import fastest
from transferbench.segmentation.dense_features import DenseFeatures
from transferbench.segmentation.kept_patches import Grain, Remembering
from transferbench.segmentation.patch_memory import Place
from transferbench.segmentation.patch_predictions import AT_ONCE, VOTED
from transferbench.segmentation.patch_views import BATCH, Views

SIDE = 512
"""Of the matrices whose product is timed."""


@dataclass(frozen=True)
class Size:
    """How large a memory is.

    Attributes:
        rows: patches remembered.
        features: numbers a patch, 4 bytes each, on disk.
        labels: numbers that say a patch's classes.
        code: bytes of each of them.
    """

    rows: int
    features: int
    labels: int
    code: int

    @property
    def on_disk(self) -> int:
        """Bytes of the file with the features, which a search reads through the system's page cache."""
        return 4 * self.rows * self.features

    def in_memory(self, queries: int, k: int, shares: bool) -> int:
        """Bytes held at most while so many queries are answered at once, by their k nearest.

        The labels of all patches; the queries, as they come and joined, and their votes, in parts and joined; the
        neighbors' labels that are voted on together, of shares in float32 too; and what the search needs.
        """
        votes = 2 * queries * self.labels * (4 if shares else self.code)
        looked_up = VOTED * (self.code + 4 if shares else 3 * self.code)
        search = neighbors.memory(self.rows, queries, self.features, k)
        return self.rows * self.labels * self.code + 3 * 4 * queries * self.features + votes + looked_up + search


def size_of(views: Views, rule: Remembering, grain: Grain, images: int) -> Size:
    """How large a memory of so many images, at most, is: every image taken to be of the first one's size."""
    coding, an_image = rule.coding(views), patches(views, grain)
    rows = max(1, images * max(1, rule.augmented_passes) * an_image)
    if rule.memory_patches is not None:
        rows = min(rows, max(rule.memory_patches, images * max(1, rule.augmented_passes)))
    if rule.vote == "shares":
        return Size(rows, grain.features, coding.size, 2)
    return Size(rows, grain.features, grain.height * grain.width, 1 if coding.size <= 256 else 2)


def patches(views: Views, grain: Grain) -> int:
    """How many an image has."""
    height, width = views.size(*views.images.size(0)[::-1])
    return (height // grain.height) * (width // grain.width)


def forecast(
    dense: DenseFeatures, views: Views, rule: Remembering, asked: tuple[int, int, int], place: Place
) -> tuple[float, int]:
    """Seconds that remembering and searching take here, and bytes that are held, those on disk among them.

    Args:
        dense: the backbone.
        views: the training images.
        rule: which patches are remembered.
        asked: how many images are looked at in all, how many of them search (once for each metric), and the largest k.
        place: where.
    """
    images, searching, k = asked
    device, numbers = place.runtime.device, np.zeros(min(4, len(views.images)), np.int64)
    begun = time.perf_counter()
    _, batch = next(views.batches(numbers, numbers, 0))
    load = (time.perf_counter() - begun) / len(batch)
    batch = batch.to(device)
    compute = fastest(lambda: dense(batch), device, 2) / len(batch)
    grain = Grain.of(dense, views, device)
    square = torch.ones(SIDE, SIDE, device=device)
    multiply = fastest(lambda: square @ square, device, 2) / SIDE**3
    size, an_image = size_of(views, rule, grain, len(views.images)), patches(views, grain)
    seconds = images * (load / max(1, place.workers) + compute)
    seconds += searching * an_image * size.rows * size.features * multiply
    queries = min(AT_ONCE + BATCH * an_image, searching * an_image)
    return seconds / place.runtime.world_size, size.on_disk + size.in_memory(queries, k, rule.vote == "shares")
