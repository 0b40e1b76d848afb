"""What is said of a region: its class, its box and its mask, all from one pass through the fifth stage."""

from collections.abc import Sequence
from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torchvision.ops import roi_align

from transferbench.backbones.resnet import ResNet
from transferbench.detection import masks
from transferbench.detection.boxes import encode
from transferbench.detection.keys import ModelKeys
from transferbench.detection.losses import smooth_l1
from transferbench.detection.regions import Regions
from transferbench.detection.samples import Objects

EXTRA_NORM = "Res5ROIHeadsExtraNorm"


class MaskHead(nn.Module):
    """Twice the resolution by a transposed convolution, then one map of logits a class."""

    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels, hidden, 2, stride=2)
        self.predictor = nn.Conv2d(hidden, classes, 1)
        nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.predictor.weight, std=0.001)
        for layer in (self.deconv, self.predictor):
            nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, features: Float[Tensor, "r c s s"], labels: Int64[Tensor, " r"]) -> Float[Tensor, "r side side"]:
        """Logits of each region's mask, of its own class."""
        logits = self.predictor(F.relu(self.deconv(features)))
        return logits[torch.arange(len(labels), device=labels.device), labels]


class Res5Heads(nn.Module):
    """Region align, a copy of the fifth stage, perhaps one more norm, and linear layers on the mean of the map."""

    def __init__(self, keys: ModelKeys, backbone: ResNet, stride: int) -> None:
        super().__init__()
        self.keys, self.stride = keys, stride
        self.classes = keys.ROI_HEADS.NUM_CLASSES
        self.layer4 = deepcopy(backbone.get_submodule("layer4"))
        width = backbone.width
        self.extra_norm = nn.BatchNorm2d(width) if keys.ROI_HEADS.NAME == EXTRA_NORM else nn.Identity()
        self.scores = nn.Linear(width, self.classes + 1)
        self.offsets = nn.Linear(width, 4 * self.classes)
        for layer, deviation in ((self.scores, 0.01), (self.offsets, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)
        self.mask = MaskHead(width, keys.ROI_MASK_HEAD.CONV_DIM, self.classes) if keys.MASK_ON else None

    def features(self, maps: Float[Tensor, "b c h w"], boxes: Sequence[Tensor]) -> Float[Tensor, "r d s s"]:
        """The fifth stage's map of each region, image by image."""
        keys = self.keys.ROI_BOX_HEAD
        side, ratio = keys.POOLER_RESOLUTION, keys.POOLER_SAMPLING_RATIO
        regions = [each.to(maps.dtype) for each in boxes]
        pooled = roi_align(maps, regions, side, 1 / self.stride, sampling_ratio=ratio, aligned=True)
        return self.extra_norm(self.layer4(pooled))

    def losses(self, maps: Tensor, regions: Sequence[Regions], objects: Sequence[Objects]) -> dict[str, Tensor]:
        """`loss_cls`, `loss_box_reg` and, with masks, `loss_mask`.

        The mask's features are the objects' rows of the boxes' features: a second pass would show the fifth stage's
        norms another batch (spec/detection.md 3, [run]).
        """
        features = self.features(maps, [each.boxes for each in regions])
        means = features.mean((2, 3))
        scores, offsets = self.scores(means), self.offsets(means)
        labels = torch.cat([each.labels for each in regions])
        is_object = labels < self.classes
        found = {
            "loss_cls": F.cross_entropy(scores, labels) if len(labels) else scores.sum() * 0,
            "loss_box_reg": self._box_loss(offsets, labels, regions, objects),
        }
        if self.mask is not None:
            logits = self.mask(features[is_object], labels[is_object])
            found["loss_mask"] = self._mask_loss(logits, regions, objects)
        return found

    def _box_loss(
        self, offsets: Tensor, labels: Tensor, regions: Sequence[Regions], objects: Sequence[Objects]
    ) -> Tensor:
        """Of objects only, each by the offsets of its own class; divided by the number of all regions."""
        keys = self.keys.ROI_BOX_HEAD
        starts = torch.cat([each.boxes for each in regions])
        ends = [
            truth.boxes[each.objects] if len(truth.boxes) else each.boxes
            for each, truth in zip(regions, objects, strict=True)
        ]
        is_object = labels < self.classes
        own = offsets.unflatten(1, (-1, 4))[is_object, labels[is_object]]
        wanted = encode(starts[is_object], torch.cat(ends)[is_object], keys.BBOX_REG_WEIGHTS)
        return smooth_l1(own, wanted, keys.SMOOTH_L1_BETA) * (keys.BBOX_REG_LOSS_WEIGHT / max(1, len(labels)))

    def _mask_loss(self, logits: Tensor, regions: Sequence[Regions], objects: Sequence[Objects]) -> Tensor:
        """The mean over all pixels of all objects' grids."""
        if not len(logits):
            return logits.sum() * 0
        wanted = []
        for each, truth in zip(regions, objects, strict=True):
            chosen = each.labels < self.classes
            wanted.append(masks.targets(truth, each.objects[chosen], each.boxes[chosen], logits.shape[-1]))
        return F.binary_cross_entropy_with_logits(logits, torch.cat(wanted).to(logits))

    def masks_of(self, maps: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> list[Tensor] | None:
        """The mask of each box on its grid, as probabilities; None without a mask head."""
        if self.mask is None:
            return None
        logits = self.mask(self.features(maps, boxes), torch.cat(list(labels)))
        return list(logits.float().sigmoid().split([len(each) for each in labels]))
