"""Faster and Mask R-CNN on a ResNet's fourth stage (C4) or a feature pyramid (FPN), as Detectron2 computes them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transferbench.backbones import Backbone
from transferbench.detection.model import region_losses, regions
from transferbench.detection.model.frozen_norm import with_frozen_norms
from transferbench.detection.model.heads import Maps, PyramidHeads, Res5Heads
from transferbench.detection.model.pyramid import Pyramid
from transferbench.detection.model.regions import RegionDetections
from transferbench.detection.model.rpn import ProposalNetwork
from transferbench.detection.model.trunk import Trunk, resnet
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.recipe.compatibility import unsuited
from transferbench.detection.recipe.variants import is_pyramid
from transferbench.detection.targets.boxes import Size, clipped, decode, larger_than
from transferbench.detection.targets.samples import Detections, Objects, Sample
from transferbench.errors import UserError
from transferbench.runtime import seeded


class Detector(nn.Module):
    """A trunk shared by all, proposals on its map, and heads that look at each proposed region.

    Norms are torch's; where `MODEL.RESNETS.NORM` is SyncBN and there are several processes, the caller makes them
    one over all.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, recipe: DetectionRecipe, backbone: Backbone) -> None:
        super().__init__()
        self.recipe = recipe
        source, keys = resnet(backbone), recipe.MODEL
        self.trunk = Trunk(source, whole=is_pyramid(keys))
        strides = self.trunk.strides
        if is_pyramid(keys):
            self.pyramid = Pyramid(self.trunk.channels, keys.FPN)
            self.rpn = ProposalNetwork(keys, keys.FPN.OUT_CHANNELS, [*strides, 2 * strides[-1]])
            self.heads = PyramidHeads(keys, keys.FPN.OUT_CHANNELS, strides)
        else:
            self.pyramid = None
            self.rpn = ProposalNetwork(keys, self.trunk.channels[0], strides)
            self.heads = Res5Heads(keys, source, strides[0])
        self.register_buffer("mean", torch.tensor(keys.PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(keys.PIXEL_STD).view(3, 1, 1), persistent=False)
        self.trunk.freeze(keys.BACKBONE.FREEZE_AT)
        if keys.RESNETS.NORM == "FrozenBN":
            with_frozen_norms(self.trunk)
            with_frozen_norms(self.heads)
        if self.pyramid is not None and keys.FPN.NORM == "FrozenBN":
            with_frozen_norms(self.pyramid)

    def batch(self, samples: Sequence[Sample]) -> Float[Tensor, "b 3 h w"]:
        """Images in the recipe's order of colors, normalized and then padded with 0, right and below, to the largest.

        For a pyramid, whose maps are doubled in size, to whole steps of its coarsest stage.
        """
        order = [0, 1, 2] if self.recipe.INPUT.FORMAT == "RGB" else [2, 1, 0]
        images = [(each.pixels[order].to(self.mean) - self.mean) / self.deviation for each in samples]
        step = self.trunk.strides[-1] if self.pyramid is not None else 1
        height, width = (-(-max(image.shape[axis] for image in images) // step) * step for axis in (1, 2))
        batch = self.mean.new_zeros(len(images), 3, height, width)
        for place, image in zip(batch, images, strict=True):
            place[:, : image.shape[1], : image.shape[2]] = image
        return batch

    def maps(self, samples: Sequence[Sample]) -> list[Float[Tensor, "b c _ _"]]:
        """What proposals and heads look at: the third stage's map, or the pyramid's, finest first."""
        maps = self.trunk(self.batch(samples))
        return maps if self.pyramid is None else self.pyramid(maps)

    def losses(
        self, samples: Sequence[Sample], drawn_from: torch.Generator | Sequence[torch.Generator] | None = None
    ) -> dict[str, Tensor]:
        """The losses to add up, by Detectron2's names: `loss_rpn_cls loss_rpn_loc loss_cls loss_box_reg loss_mask`.

        Anchors and regions are drawn from a generator for each image, or from one for all in Detectron2's order; None
        is torch's own.
        """
        generators = list(drawn_from) if isinstance(drawn_from, Sequence) else [drawn_from] * len(samples)
        objects = [_known(each, self.mean.device) for each in samples]
        maps = self.maps(samples)
        said = self.rpn(maps)
        terms = self.rpn.losses(said, objects, generators)
        proposals = self.rpn.proposals(said, [_size(each) for each in samples])
        keys = self.recipe.MODEL.ROI_HEADS
        drawn = [regions.drawn(keys, *each) for each in zip(proposals, objects, generators, strict=True)]
        return region_losses.losses(self.heads, maps, drawn, objects) | terms

    @torch.no_grad()
    def detect(self, samples: Sequence[Sample]) -> list[Detections]:
        """What is in each image, in pixels of the original; at most `TEST.DETECTIONS_PER_IMAGE`, surest first.

        Masks are computed for the boxes before these are scaled to the original.
        """
        maps, sizes = self.maps(samples), [_size(each) for each in samples]
        detections = self._found(maps, self.rpn.proposals(self.rpn(maps), sizes), sizes)
        masks = self.heads.masks_of(maps, [each.boxes for each in detections], [each.labels for each in detections])
        sized = zip(detections, masks or [None] * len(detections), samples, strict=True)
        return [_scaled(each, mask, sample) for each, mask, sample in sized]

    def _found(self, maps: Maps, proposals: Sequence[Tensor], sizes: Sequence[Size]) -> list[RegionDetections]:
        keys, counts = self.recipe.MODEL, [len(each) for each in proposals]
        vectors, _ = self.heads.look(maps, proposals)
        scores = self.heads.scores(vectors).float().softmax(-1).split(counts)
        coded = self.heads.offsets(vectors).split(counts)
        weights, most = keys.ROI_BOX_HEAD.BBOX_REG_WEIGHTS, self.recipe.TEST.DETECTIONS_PER_IMAGE
        return [
            regions.suppressed(keys.ROI_HEADS, decode(start, offsets, weights), score, size, most)
            for start, offsets, score, size in zip(proposals, coded, scores, sizes, strict=True)
        ]


def build(recipe: DetectionRecipe, backbone: Backbone, classes: int, seed: int = 0) -> Detector:
    """The detector a recipe describes, on copies of the backbone's layers; its own new layers are drawn from `seed`.

    Raises:
        UserError: when the recipe is for another network or another number of classes.
    """
    stated = recipe.MODEL.ROI_HEADS.NUM_CLASSES
    if stated != classes:
        raise UserError(
            f"The recipe has {stated} classes and the data {classes}. Override it: MODEL.ROI_HEADS.NUM_CLASSES "
            f"{classes}."
        )
    reason = unsuited(recipe, backbone.architecture)
    if reason:
        raise UserError(reason)
    with seeded(seed):
        return Detector(recipe, backbone)


def _size(sample: Sample) -> Size:
    return int(sample.pixels.shape[1]), int(sample.pixels.shape[2])


def _known(sample: Sample, device: torch.device) -> Objects:
    if sample.objects is None:
        raise ValueError("a sample to learn from has no objects")
    return replace(sample.objects, boxes=sample.objects.boxes.to(device), labels=sample.objects.labels.to(device))


def _scaled(detections: RegionDetections, masks: Tensor | None, sample: Sample) -> Detections:
    """In pixels of the original image; boxes that are empty there are dropped."""
    (height, width), (seen_height, seen_width) = sample.size, _size(sample)
    scale = detections.boxes.new_tensor([width / seen_width, height / seen_height] * 2)
    boxes = clipped(detections.boxes * scale, sample.size)
    kept = larger_than(boxes, 0.0)
    return Detections(
        boxes[kept], detections.scores[kept], detections.labels[kept], None if masks is None else masks[kept]
    )
