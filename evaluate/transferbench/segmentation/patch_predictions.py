"""Label maps predicted from a memory of patches, a part of the images after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int16, Int64

from transferbench.neighbors import Engine, Metric, Neighbors, capped
from transferbench.segmentation.dense_features import DenseFeatures
from transferbench.segmentation.dense_neighbors import Codes, Coding, Memory, attended, commonest, laid_out
from transferbench.segmentation.examples import resized_labels
from transferbench.segmentation.feature_scale import Scale
from transferbench.segmentation.kept_patches import Grain
from transferbench.segmentation.patch_memory import Place, rows_of
from transferbench.segmentation.patch_views import Views

Choice = tuple[int, Metric]
"""How many neighbors vote, and by what they are near."""
ScoredAt = Literal["resolution", "original"]
Size = tuple[int, int]
Shares = Float32[np.ndarray, "q c"]

AT_ONCE = 16384
"""Patches that neighbors are looked for together, at least: the memory is read once for so many."""
VOTED = 2**22
"""How many labels of neighbors are looked up together."""


@dataclass(frozen=True)
class Law:
    """How neighbors vote: `temperature` is None where their pixels do; and the size at which the maps are wanted."""

    coding: Coding
    temperature: float | None
    scored_at: ScoredAt

    def votes(self, memory: Memory, near: Neighbors, k: int) -> Codes | Shares:
        """What each query's k nearest say: numbers of its pixels, `q p`, or shares of classes, `q c`."""
        indices, cosines = near.indices[:, :k], near.values[:, :k]
        step, votes = max(1, VOTED // (k * memory.labels.shape[1])), []
        for start in range(0, len(indices), step):
            found = memory.labels[indices[start : start + step]]
            if self.temperature is None:
                votes.append(commonest(found))
            else:
                votes.append(attended(cosines[start : start + step], found, self.temperature))
        return np.concatenate(votes)

    def label_map(self, votes: Codes | Shares, grid: Size, shown: Size, wanted: Size) -> Int64[np.ndarray, "h w"]:
        """The classes of an image's pixels at the size wanted, by the votes of its patches, `coding.classes` for none.

        Args:
            votes: what `votes` gave.
            grid: rows and columns of patches.
            shown: height and width of the image that the backbone saw.
            wanted: height and width of the result. Numbers of pixels are resized to it by torch's nearest-exact, shares
                bilinearly from the grid; of equal shares the least class wins.
        """
        if self.temperature is None:
            codes = laid_out(votes, *grid, shown[0]).astype(np.int16)
            return self.coding.labels(resized_labels(codes, wanted, "torch nearest-exact").astype(np.int64))
        shares = torch.from_numpy(votes.T.reshape(1, -1, *grid).copy())
        resized = F.interpolate(shares, size=wanted, mode="bilinear", align_corners=False)
        return self.coding.labels(resized[0].argmax(0).numpy())


@dataclass(frozen=True)
class Predictor:
    """What predicts from a memory; `scale` is None where features are taken as they are."""

    dense: DenseFeatures
    grain: Grain
    memory: Memory
    scale: Scale | None
    law: Law

    def among(self, patches: int) -> "Predictor":
        """The same with only the first patches remembered."""
        return replace(self, memory=self.memory.first(patches))

    def predicted(
        self, views: Views, indices: Int64[np.ndarray, "n"], choices: Sequence[Choice], place: Place
    ) -> Iterator[tuple[int, Int16[np.ndarray, "h w"], list[Int64[np.ndarray, "h w"]]]]:
        """Each image with its true classes and, by each choice, what its pixels are taken for, at the size scored.

        Raises:
            UserError: for an image or label map that cannot be read.
        """
        waiting: list[tuple[int, Size]] = []
        rows: list[Float32[np.ndarray, "q d"]] = []
        for which, images in views.batches(np.zeros_like(indices), indices, place.workers):
            maps = rows_of(self.dense(images.to(place.runtime.device)))
            waiting += [(index, (images.shape[2], images.shape[3])) for index in indices[which].tolist()]
            rows.append(maps.reshape(-1, maps.shape[2]))
            if sum(map(len, rows)) < AT_ONCE and which[-1] + 1 < len(indices):
                continue
            votes, start = self.votes(np.concatenate(rows), choices, place.runtime.device), 0
            for index, shown in waiting:
                grid = shown[0] // self.grain.height, shown[1] // self.grain.width
                part = slice(start, start + grid[0] * grid[1])
                truth = views.labels(index) if self.law.scored_at == "resolution" else views.truth(index)
                size = truth.shape[0], truth.shape[1]
                yield index, truth, [self.law.label_map(each[part], grid, shown, size) for each in votes]
                start = part.stop
            waiting, rows = [], []

    def votes(
        self,
        queries: Float32[np.ndarray, "q d"],
        choices: Sequence[Choice],
        device: torch.device,
        engine: Engine = "auto",
    ) -> list[Codes | Shares]:
        """The votes of each query's neighbors by every choice; one search serves all that share a metric."""
        if self.scale is not None:
            self.scale.apply(queries)
        most: dict[Metric, int] = {}
        for k, metric in choices:
            most[metric] = max(k, most.get(metric, 0))
        near = {metric: self.memory.near(queries, k, metric, device, engine) for metric, k in most.items()}
        rows = len(self.memory.features)
        return [self.law.votes(self.memory, near[metric], capped(k, rows)) for k, metric in choices]
