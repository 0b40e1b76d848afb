"""What is said of a region: its class, its box and its mask."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from transferbench.backbones.resnet import ResNet
from transferbench.detection.model.pooling import pooled
from transferbench.detection.recipe.keys import ModelKeys

EXTRA_NORM = "Res5ROIHeadsExtraNorm"
Maps = Sequence[Float[Tensor, "b c _ _"]]
Boxes = Sequence[Float[Tensor, "_ 4"]]
"""Of each image, in pixels."""


class MaskHead(nn.Module):
    """Optional 3x3 convolutions, a transposed one that doubles the resolution, then one map of logits per class."""

    def __init__(self, keys: ModelKeys, channels: int) -> None:
        super().__init__()
        hidden, count = keys.ROI_MASK_HEAD.CONV_DIM, keys.ROI_MASK_HEAD.NUM_CONV
        widths = [channels, *[hidden] * count]
        self.convs = nn.ModuleList([nn.Conv2d(each, hidden, 3, padding=1) for each in widths[:-1]])
        self.deconv = nn.ConvTranspose2d(widths[-1], hidden, 2, stride=2)
        self.predictor = nn.Conv2d(hidden, keys.ROI_HEADS.NUM_CLASSES, 1)
        for layer in (*self.convs, self.deconv):
            nn.init.kaiming_normal_(cast(Tensor, layer.weight), mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.predictor.weight, std=0.001)
        for layer in (*self.convs, self.deconv, self.predictor):
            nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, features: Float[Tensor, "r c s s"], labels: Int64[Tensor, " r"]) -> Float[Tensor, "r side side"]:
        """Logits of each region's mask, of its own class."""
        for conv in self.convs:
            features = F.relu(conv(features))
        logits = self.predictor(F.relu(self.deconv(features)))
        return logits[torch.arange(len(labels), device=labels.device), labels]


class RegionHeads(nn.Module):
    """The linear layers and the mask's head that both detectors have; how regions are looked at is theirs."""

    def __init__(self, keys: ModelKeys, width: int, mask_channels: int) -> None:
        super().__init__()
        self.keys = keys
        self.scores = nn.Linear(width, keys.ROI_HEADS.NUM_CLASSES + 1)
        self.offsets = nn.Linear(width, 4 * keys.ROI_HEADS.NUM_CLASSES)
        for layer, deviation in ((self.scores, 0.01), (self.offsets, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)
        self.mask = MaskHead(keys, mask_channels) if keys.MASK_ON else None

    def look(self, maps: Maps, boxes: Boxes) -> tuple[Float[Tensor, "r d"], Float[Tensor, "r c s s"] | None]:
        """Each region's vector, and its map where the mask's head takes the same."""
        raise NotImplementedError

    def mask_features(self, maps: Maps, boxes: Boxes) -> Float[Tensor, "r c s s"]:
        """Each region's map for the mask's head."""
        raise NotImplementedError

    def masks_of(self, maps: Maps, boxes: Boxes, labels: Sequence[Tensor]) -> list[Tensor] | None:
        """The mask of each box on its grid, as probabilities; None without a mask head."""
        if self.mask is None:
            return None
        logits = self.mask(self.mask_features(maps, boxes), torch.cat(list(labels)))
        return list(logits.float().sigmoid().split([len(each) for each in labels]))


class Res5Heads(RegionHeads):
    """A copy of the fifth stage on every region, optionally with one more norm; one pass serves boxes and masks."""

    def __init__(self, keys: ModelKeys, backbone: ResNet, stride: int) -> None:
        super().__init__(keys, backbone.width, backbone.width)
        self.stride = stride
        self.layer4 = deepcopy(backbone.get_submodule("layer4"))
        has_norm = keys.ROI_HEADS.NAME == EXTRA_NORM
        self.extra_norm = nn.BatchNorm2d(backbone.width) if has_norm else nn.Identity()

    def look(self, maps: Maps, boxes: Boxes) -> tuple[Tensor, Tensor | None]:
        """The mean of the fifth stage's map, and that map."""
        features = self.mask_features(maps, boxes)
        return features.mean((2, 3)), features

    def mask_features(self, maps: Maps, boxes: Boxes) -> Tensor:
        """The fifth stage's map."""
        keys = self.keys.ROI_BOX_HEAD
        regions = pooled(maps, [self.stride], boxes, keys.POOLER_RESOLUTION, keys.POOLER_SAMPLING_RATIO)
        return self.extra_norm(self.layer4(regions))


class PyramidHeads(RegionHeads):
    """Linear layers for boxes and convolutions for masks, each on regions of its own resolution."""

    def __init__(self, keys: ModelKeys, channels: int, strides: Sequence[int]) -> None:
        box = keys.ROI_BOX_HEAD
        inner = channels * box.POOLER_RESOLUTION**2
        super().__init__(keys, box.FC_DIM if box.NUM_FC else inner, channels)
        self.strides = tuple(strides)
        widths = [inner, *[box.FC_DIM] * box.NUM_FC]
        self.linear = nn.ModuleList([nn.Linear(*pair) for pair in pairwise(widths)])
        for layer in self.linear:
            nn.init.kaiming_uniform_(cast(Tensor, layer.weight), a=1)
            nn.init.zeros_(cast(Tensor, layer.bias))

    def look(self, maps: Maps, boxes: Boxes) -> tuple[Tensor, Tensor | None]:
        """The last linear layer's output, and no map."""
        keys = self.keys.ROI_BOX_HEAD
        regions = pooled(self._used(maps), self.strides, boxes, keys.POOLER_RESOLUTION, keys.POOLER_SAMPLING_RATIO)
        vectors = regions.flatten(1)
        for layer in self.linear:
            vectors = F.relu(layer(vectors))
        return vectors, None

    def mask_features(self, maps: Maps, boxes: Boxes) -> Tensor:
        """Regions of the pyramid."""
        keys = self.keys.ROI_MASK_HEAD
        return pooled(self._used(maps), self.strides, boxes, keys.POOLER_RESOLUTION, keys.POOLER_SAMPLING_RATIO)

    def _used(self, maps: Maps) -> Maps:
        """All but the coarsest map, which is for proposals only."""
        return maps[: len(self.strides)]
