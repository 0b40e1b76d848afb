"""Regions of an image: which to learn from, and which to keep as found."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from transferbench.detection.recipe.keys import HeadsKeys
from transferbench.detection.targets.boxes import Size, clipped, overlaps
from transferbench.detection.targets.matching import BoxSampling, draw, match
from transferbench.detection.targets.samples import Objects


@dataclass(frozen=True)
class Regions:
    """Regions of one image to learn from.

    Attributes:
        boxes: `r 4`, in pixels as the detector sees the image.
        labels: `r`; the number of classes stands for background.
        objects: `r`, the object each stands for; of background it means nothing.
    """

    boxes: Float[Tensor, "r 4"]
    labels: Int64[Tensor, " r"]
    objects: Int64[Tensor, " r"]


@dataclass(frozen=True)
class RegionDetections:
    """What one image's regions turn out to be, surest first: as `Detections`, in pixels as the detector sees it."""

    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, " m"]
    labels: Int64[Tensor, " m"]


@torch.no_grad()
def drawn(keys: HeadsKeys, proposals: Tensor, objects: Objects, generator: torch.Generator | None) -> Regions:
    """Of an image's proposals (`n 4`), and of its objects' own boxes behind them, a random part: objects first."""
    boxes = torch.cat((proposals, objects.boxes)) if keys.PROPOSAL_APPEND_GT else proposals
    quality = overlaps(objects.boxes, boxes)
    matched, kinds = match(quality, keys.IOU_THRESHOLDS, keys.IOU_LABELS, keep_best=False)
    labels = torch.full_like(kinds, keys.NUM_CLASSES)
    if len(objects.labels):
        labels = torch.where(kinds == 1, objects.labels[matched], torch.where(kinds == 0, labels, kinds))
    how = BoxSampling(keys.BATCH_SIZE_PER_IMAGE, keys.POSITIVE_FRACTION)
    chosen = torch.cat(draw(labels, keys.NUM_CLASSES, how, generator))
    return Regions(boxes[chosen], labels[chosen], matched[chosen])


def suppressed(
    keys: HeadsKeys, boxes: Float[Tensor, "r k 4"], scores: Float[Tensor, "r classes"], size: Size, most: int
) -> RegionDetections:
    """The likely boxes of an image, clipped to it, without those that overlap a surer one of their class.

    A region gives a box for each class (the last score is background's); `most` of all are kept, -1 for all.
    """
    from torchvision.ops import batched_nms  # imported where boxes are found: it takes longer than torch

    finite = boxes.isfinite().all(2).all(1) & scores.isfinite().all(1)
    boxes, scores = clipped(boxes[finite], size), scores[finite, :-1]
    likely = scores > keys.SCORE_THRESH_TEST
    labels = likely.nonzero()[:, 1]
    boxes, scores = boxes[likely], scores[likely].float()
    kept = batched_nms(boxes, scores, labels, keys.NMS_THRESH_TEST)
    kept = kept if most < 0 else kept[:most]
    return RegionDetections(boxes[kept], scores[kept], labels[kept])
