"""Classes of patches by their nearest neighbors in a memory of patches, and the two laws by which neighbors vote.

Whose protocol does what: docs/protocols.md#segment-knn.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int16, Int64, UInt8, UInt16

from transferbench import neighbors
from transferbench.data.label_maps import UNCOUNTED
from transferbench.errors import UserError
from transferbench.neighbors import Engine, Metric, Neighbors

Vote = Literal["pixels", "shares"]
Codes = UInt8[np.ndarray, "_ _"] | UInt16[np.ndarray, "_ _"]
"""Classes of pixels as `Coding` numbers them: of a map, or of patches, `n p`, each row by row."""
CodesOfNeighbors = UInt8[np.ndarray, "_ _ _"] | UInt16[np.ndarray, "_ _ _"]
"""The same of the neighbors of queries, `q k p`."""

TOGETHER = 2**22
"""How many numbers are voted on together."""


@dataclass(frozen=True)
class Coding:
    """Classes as whole numbers from 0 on, with one for pixels that are `UNCOUNTED`; of equal votes the least wins.

    Attributes:
        classes: how many there are, without `void`.
        void: 0, where the files have that number for it; else `classes`; None: they are of class 0.
    """

    classes: int
    void: int | None

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.classes + (self.void is not None)

    def codes(self, labels: Int16[np.ndarray, "h w"]) -> Codes:
        """The numbers of classes."""
        shifted = labels + 1 if self.void == 0 else np.where(labels == UNCOUNTED, self.void or 0, labels)
        return shifted.astype(np.uint8 if self.size <= 256 else np.uint16)

    def labels(self, codes: Int64[np.ndarray, "h w"]) -> Int64[np.ndarray, "h w"]:
        """The classes of numbers, and `classes` for `void`."""
        return np.where(codes == 0, self.classes, codes - 1) if self.void == 0 else codes


@dataclass(frozen=True)
class Memory:
    """Patches whose pixels have classes.

    Attributes:
        features: one row a patch; may be mapped from disk.
        labels: for a vote of `pixels` the numbers of each patch's pixels, `m p`; of `shares` how many pixels are of
            each number, `m c`.
    """

    features: Float32[np.ndarray, "m d"]
    labels: Codes

    def first(self, m: int) -> "Memory":
        """The first m patches."""
        return replace(self, features=self.features[:m], labels=self.labels[:m])

    def near(
        self,
        queries: Float32[np.ndarray, "q d"],
        k: int,
        metric: Metric,
        device: torch.device | None = None,
        engine: Engine = "auto",
    ) -> Neighbors:
        """The k nearest patches of each query, exactly, whatever the engine (docs/protocols.md#exact-search).

        Raises:
            UserError: for features that cannot be ranked, and an engine that is not here.
        """
        return neighbors.search(self.features, queries, k, metric, engine, device)


def patched(codes: Codes, rows: int, columns: int) -> Codes:
    """The pixels of each of `rows * columns` patches of a map, `rows * columns p`.

    Raises:
        UserError: where they do not lie evenly in it.
    """
    (height, width), (more_rows, more_columns) = codes.shape, (codes.shape[0] % rows, codes.shape[1] % columns)
    if more_rows or more_columns:
        raise UserError(
            f"{rows}x{columns} places of features do not divide an image of {height}x{width} pixels evenly, so which "
            "pixels are whose is not known. Set a `resolution` that is a whole multiple of both."
        )
    cells = codes.reshape(rows, height // rows, columns, width // columns)
    return cells.transpose(0, 2, 1, 3).reshape(rows * columns, -1)


def laid_out(pixels: Codes, rows: int, columns: int, height: int) -> Codes:
    """The map of so many pixels' height whose patches have these pixels: the way back from `patched`."""
    cells = pixels.reshape(rows, columns, height // rows, -1)
    return cells.transpose(0, 2, 1, 3).reshape(height, -1)


def commonest(found: CodesOfNeighbors) -> Codes:
    """The commonest number at each pixel of the k neighbors, `q k p` to `q p`; of equally common ones the least."""
    q, k, p = found.shape
    winners = np.empty((q, p), found.dtype)
    step = max(1, TOGETHER // (k * p))
    for start in range(0, q, step):
        part = np.ascontiguousarray(found[start : start + step].swapaxes(0, 1))
        best, most = part[0].copy(), np.zeros(part[0].shape, np.uint16)
        for each in part:
            votes = np.zeros_like(most)
            for other in part:
                votes += each == other
            better = (votes > most) | ((votes == most) & (each < best))
            np.copyto(best, each, where=better)
            np.copyto(most, votes, where=better)
        winners[start : start + step] = best
    return winners


def attended(
    cosines: Float64[np.ndarray, "q k"], counts: UInt16[np.ndarray, "q k c"], temperature: float
) -> Float32[np.ndarray, "q c"]:
    """The mean of the neighbors' shares of each class, weighted by the softmax of cosine / temperature."""
    weights = np.exp((cosines - cosines.max(1, keepdims=True)) / temperature)
    weights /= weights.sum(1, keepdims=True) * counts[0, 0].sum(dtype=np.int64)
    return np.matmul(weights[:, None].astype(np.float32), counts.astype(np.float32))[:, 0]


def counted(pixels: Codes, size: int) -> UInt16[np.ndarray, "n c"]:
    """How many pixels of each patch are of each of `size` numbers."""
    cells = np.arange(len(pixels))[:, None] * size + pixels
    return np.bincount(cells.ravel(), minlength=len(pixels) * size).reshape(-1, size).astype(np.uint16)


def rarest(counts: UInt16[np.ndarray, "n c"], k: int, rng: np.random.Generator) -> Int64[np.ndarray, "_"]:
    """Sorted positions of k patches of an image, drawn so that rare classes are likelier; all if there are fewer.

    A patch's number is, over the classes in it, the sum of how many of the image's patches hold each, times a number
    drawn uniformly between 0 and 1; the smallest are taken.
    """
    if k >= len(counts):
        return np.arange(len(counts))
    present = (counts > 0).astype(np.float64)
    scores = present @ present.sum(0) * rng.random(len(counts))
    return np.sort(np.argpartition(scores, k)[:k])
