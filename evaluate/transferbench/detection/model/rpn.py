"""The region proposal network on one or several maps: its head, its losses and its proposals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from transferbench.detection.model import anchors
from transferbench.detection.model.losses import smooth_l1
from transferbench.detection.recipe.keys import ModelKeys
from transferbench.detection.targets.boxes import Size, clipped, decode, encode, larger_than, overlaps
from transferbench.detection.targets.matching import IGNORED, BoxSampling, draw, match
from transferbench.detection.targets.samples import Objects
from transferbench.errors import UserError


@dataclass(frozen=True)
class Predictions:
    """What the head says of each of `a` anchors in `b` images, map by map; `counts` has each map's number of them."""

    logits: Float[Tensor, "b a"]
    offsets: Float[Tensor, "b a 4"]
    anchors: Float[Tensor, "a 4"]
    counts: list[int]


class ProposalNetwork(nn.Module):
    """A shared 3x3 convolution and two 1x1 ones: how likely an anchor is an object, and how far it is from it."""

    def __init__(self, keys: ModelKeys, channels: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.keys, self.strides = keys, tuple(strides)
        cells = anchors.cells(keys.ANCHOR_GENERATOR, len(strides))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, len(cells[0]), 1)
        self.offsets = nn.Conv2d(channels, 4 * len(cells[0]), 1)
        for number, cell in enumerate(cells):
            self.register_buffer(f"cell{number}", cell, persistent=False)
        for layer in (self.conv, self.objectness, self.offsets):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, maps: Sequence[Float[Tensor, "b c _ _"]]) -> Predictions:
        """Predictions in the anchors' order: map by map, place by place, at each place anchor by anchor."""
        logits, offsets, places = [], [], []
        for number, (each, stride) in enumerate(zip(maps, self.strides, strict=True)):
            hidden = F.relu(self.conv(each))
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1))
            offsets.append(self.offsets(hidden).unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3))
            cell, offset = self.get_buffer(f"cell{number}"), self.keys.ANCHOR_GENERATOR.OFFSET
            height, width = each.shape[-2:]
            places.append(anchors.grid(cell, height, width, stride, offset))
        counts = [len(each) for each in places]
        return Predictions(torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat(places), counts)

    def losses(
        self, predictions: Predictions, objects: Sequence[Objects], generators: Sequence[torch.Generator | None]
    ) -> dict[str, Tensor]:
        """`loss_rpn_cls` and `loss_rpn_loc`, summed over drawn anchors, divided by the number that might be drawn."""
        keys = self.keys.RPN
        pairs = zip(objects, generators, strict=True)
        targets = [self._targets(predictions.anchors, each.boxes, generator) for each, generator in pairs]
        labels, boxes = (torch.stack(each) for each in zip(*targets, strict=True))
        drawn, positive = labels != IGNORED, labels == 1
        objectness = F.binary_cross_entropy_with_logits(
            predictions.logits[drawn], labels[drawn].float(), reduction="sum"
        )
        starts = predictions.anchors.expand_as(boxes)[positive]
        wanted = encode(starts, boxes[positive], keys.BBOX_REG_WEIGHTS)
        place = smooth_l1(predictions.offsets[positive], wanted, keys.SMOOTH_L1_BETA)
        scale = keys.LOSS_WEIGHT / (keys.BATCH_SIZE_PER_IMAGE * len(objects))
        return {"loss_rpn_cls": objectness * scale, "loss_rpn_loc": place * (keys.BBOX_REG_LOSS_WEIGHT * scale)}

    @torch.no_grad()
    def _targets(self, places: Tensor, boxes: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Each anchor's label (1, 0, ignored) and the box it stands for; only drawn anchors have a label."""
        keys = self.keys.RPN
        matched, labels = match(overlaps(boxes, places), keys.IOU_THRESHOLDS, keys.IOU_LABELS, keep_best=True)
        how = BoxSampling(keys.BATCH_SIZE_PER_IMAGE, keys.POSITIVE_FRACTION)
        positive, negative = draw(labels, 0, how, generator)
        labels = torch.full_like(labels, IGNORED)
        labels[positive], labels[negative] = 1, 0
        return labels, boxes[matched] if len(boxes) else torch.zeros_like(places)

    @torch.no_grad()
    def proposals(self, predictions: Predictions, sizes: Sequence[Size]) -> list[Tensor]:
        """For each image its likeliest boxes after suppression, each `n 4` in pixels, surest first.

        Each map gives its likeliest; they are ranked by logit, where sigmoids would tie
        (docs/protocols.md#torchvision).

        Raises:
            UserError: when training has diverged.
        """
        keys = self.keys.RPN
        kept = keys.PRE_NMS_TOPK_TRAIN if self.training else keys.PRE_NMS_TOPK_TEST
        starts = [sum(predictions.counts[:number]) for number in range(len(predictions.counts))]
        best = [
            each.topk(min(kept, each.shape[1]), 1).indices for each in predictions.logits.split(predictions.counts, 1)
        ]
        order = torch.cat([index + start for index, start in zip(best, starts, strict=True)], 1)
        levels = torch.cat([torch.full_like(index[0], number) for number, index in enumerate(best)])
        chosen = []
        for logits, index, offsets, size in zip(predictions.logits, order, predictions.offsets, sizes, strict=True):
            boxes = decode(predictions.anchors[index], offsets[index], keys.BBOX_REG_WEIGHTS)[:, 0]
            chosen.append(self._suppressed(boxes, logits[index], levels, size))
        return chosen

    def _suppressed(self, boxes: Tensor, logits: Tensor, levels: Tensor, size: Size) -> Tensor:
        """The boxes that no surer one of their map overlaps, clipped to the image."""
        from torchvision.ops import batched_nms  # imported where boxes are found: it takes longer than torch

        keys = self.keys.RPN
        finite = boxes.isfinite().all(1) & logits.isfinite()
        if self.training and not finite.all():
            raise UserError("Proposals are not finite: training has diverged. Lower SOLVER.BASE_LR.")
        boxes, logits, levels = clipped(boxes[finite], size), logits[finite], levels[finite]
        large = larger_than(boxes, self.keys.PROPOSAL_GENERATOR.MIN_SIZE)
        boxes, logits, levels = boxes[large], logits[large], levels[large]
        count = keys.POST_NMS_TOPK_TRAIN if self.training else keys.POST_NMS_TOPK_TEST
        return boxes[batched_nms(boxes, logits.float(), levels, keys.NMS_THRESH)[:count]]
