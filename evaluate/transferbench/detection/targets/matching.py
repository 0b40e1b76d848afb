"""Matching boxes to objects, and sampling the boxes that a loss sees."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

IGNORED = -1
Labels = Int64[Tensor, " n"]


def match(
    quality: Float[Tensor, "objects n"], thresholds: Sequence[float], labels: Sequence[int], *, keep_best: bool
) -> tuple[Int64[Tensor, " n"], Labels]:
    """For each of `n` boxes the object it overlaps most, and the label of the interval its overlap lies in.

    Intervals are closed below, and `labels` has one more than `thresholds`. With `keep_best` every box that overlaps an
    object as much as any box does is labeled 1, however little that is; it stays matched to the object *it* overlaps
    most (docs/protocols.md#torchvision). Without objects every box has the first label and object 0.
    """
    if not len(quality):
        none = torch.zeros(quality.shape[1], dtype=torch.int64, device=quality.device)
        return none, none + labels[0]
    overlap, objects = quality.max(0)
    edges = torch.tensor(thresholds, dtype=quality.dtype, device=quality.device)
    assigned = torch.tensor(labels, device=quality.device)[torch.bucketize(overlap, edges, right=True)]
    if keep_best:
        best = quality.max(1, keepdim=True).values
        assigned[(quality == best).any(0)] = 1
    return objects, assigned


@dataclass(frozen=True)
class BoxSampling:
    """How many boxes are drawn in an image, and which fraction of them may be objects."""

    count: int
    fraction: float


def draw(
    labels: Labels, background: int, how: BoxSampling, generator: torch.Generator | None
) -> tuple[Int64[Tensor, " p"], Int64[Tensor, " q"]]:
    """Indices of the drawn boxes that are objects and of those that are background, at most `how.count` together.

    Background fills up what objects leave. The two permutations are drawn in this order, as in Detectron2, so equal
    seeds draw equal boxes (docs/protocols.md#torchvision).
    """
    objects = ((labels != IGNORED) & (labels != background)).nonzero()[:, 0]
    others = (labels == background).nonzero()[:, 0]
    wanted = min(len(objects), int(how.count * how.fraction))
    chosen = objects[_permuted(objects, generator)[:wanted]]
    return chosen, others[_permuted(others, generator)[: min(len(others), how.count - wanted)]]


def _permuted(indices: Tensor, generator: torch.Generator | None) -> Tensor:
    device = indices.device if generator is None else generator.device
    return torch.randperm(len(indices), generator=generator, device=device).to(indices.device)
