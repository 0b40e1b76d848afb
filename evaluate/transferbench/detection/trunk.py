"""The part of a ResNet below the regions: its stem and first three stages, whose map (C4) all else shares."""

from copy import deepcopy

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from transferbench.backbones import Backbone
from transferbench.backbones.resnet import ResNet
from transferbench.detection.frozen import with_frozen_norms
from transferbench.errors import UserError

STEM_STRIDES = {"imagenet": 4, "deep": 4, "small_maxpool": 2, "cifar": 1}
"""Pixels of the image to a step of the stem's map."""

STEM = ("conv1", "bn1")
STAGES = ("layer1", "layer2", "layer3")


class Trunk(nn.Module):
    """Copies of a ResNet's first layers, under their names there.

    Attributes:
        stride: pixels of the image to a step of the map.
        channels: of the map.
    """

    def __init__(self, backbone: ResNet) -> None:
        super().__init__()
        self.pre_pad = backbone.pre_pad
        self.channels = backbone.width // 2
        for name in (*STEM, "relu", "maxpool", *STAGES):
            setattr(self, name, deepcopy(getattr(backbone, name)))
        self.stride = STEM_STRIDES[backbone.architecture.arguments["stem"]] * 4

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The third stage's map, as `Backbone.stages` gives it under `layer3`."""
        x = F.pad(images, [self.pre_pad] * 4) if self.pre_pad else images
        for name in (*STEM, "relu", "maxpool", *STAGES):
            x = getattr(self, name)(x)
        return x

    def freeze(self, count: int) -> None:
        """Fix the first `count` parts, of stem and stages: neither weights nor statistics change (`FREEZE_AT`)."""
        parts = (STEM, *((name,) for name in STAGES))
        for name in [name for part in parts[:count] for name in part]:
            frozen = with_frozen_norms(getattr(self, name))
            frozen.requires_grad_(False)
            setattr(self, name, frozen)


def resnet(backbone: Backbone) -> ResNet:
    """The backbone, known to be a ResNet.

    Raises:
        UserError: when it is not one.
    """
    if not isinstance(backbone, ResNet):
        name = backbone.architecture.name
        raise UserError(f"{name} is no ResNet: detectors are built on ResNets' stages only. Leave `detect` out for it.")
    return backbone
