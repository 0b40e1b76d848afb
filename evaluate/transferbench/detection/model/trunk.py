"""The part of a ResNet below the regions, whose maps all else shares."""

from copy import deepcopy

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from transferbench.backbones import Backbone
from transferbench.backbones.resnet import ResNet
from transferbench.detection.model.frozen_norm import with_frozen_norms
from transferbench.errors import UserError

STEM_STRIDES = {"imagenet": 4, "deep": 4, "small_maxpool": 2, "cifar": 1}
"""Pixels of the image to a step of the stem's map."""

STEM = ("conv1", "bn1")
STAGES = ("layer1", "layer2", "layer3", "layer4")


class Trunk(nn.Module):
    """Copies of a ResNet's first layers, under their names there: up to the third stage, or all four.

    Attributes:
        given: the stages whose maps it gives.
        strides: pixels of the image to a step of each of these maps.
        channels: of each of these maps.
    """

    def __init__(self, backbone: ResNet, *, whole: bool) -> None:
        super().__init__()
        self.pre_pad = backbone.pre_pad
        self.layers = STAGES if whole else STAGES[:-1]
        for name in (*STEM, "relu", "maxpool", *self.layers):
            setattr(self, name, deepcopy(getattr(backbone, name)))
        stem = STEM_STRIDES[backbone.architecture.arguments["stem"]]
        self.given = STAGES if whole else ("layer3",)
        self.strides = [stem * 2 ** STAGES.index(name) for name in self.given]
        self.channels = [backbone.width // 2 ** (3 - STAGES.index(name)) for name in self.given]

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps of the stages in `given`, as `Backbone.stages` has them."""
        x = F.pad(images, [self.pre_pad] * 4) if self.pre_pad else images
        for name in (*STEM, "relu", "maxpool"):
            x = getattr(self, name)(x)
        maps = []
        for name in self.layers:
            x = getattr(self, name)(x)
            maps.append(x)
        return maps[-len(self.given) :]

    def freeze(self, count: int) -> None:
        """Fix the first `count` parts, of stem and stages: neither weights nor statistics change (`FREEZE_AT`)."""
        parts = (STEM, *((name,) for name in self.layers))
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
        raise UserError(f"{name} is not a ResNet: detectors are built on ResNets only. Leave `detect` out for it.")
    return backbone
