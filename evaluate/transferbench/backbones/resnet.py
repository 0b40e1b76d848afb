"""ResNets from torchvision's blocks, in torchvision's names, with the stems and widths published checkpoints use."""

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from transferbench.backbones import Backbone, Shapes
from transferbench.settings import Settings

BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}


class Arguments(Settings):
    """What fixes a ResNet's computation."""

    depth: Literal[10, 18, 34, 50, 101, 152, 200] = 50
    width: float = Field(1.0, gt=0, description="multiplies the channels of the stem and of every stage")
    groups: int = Field(1, ge=1)
    width_per_group: int = Field(64, ge=1)
    stem: Literal["imagenet", "cifar", "small_maxpool"] = Field(
        "imagenet", description="7x7 stride 2 and max-pool | 3x3 without max-pool | 3x3 with max-pool"
    )
    pre_pad: int = Field(0, ge=0, description="zero padding in front of the stem (INTL's CIFAR code pads by 1)")
    bn_eps: float = Field(1e-5, gt=0)


class ResNet(Backbone):
    """Pooled features of He et al.'s residual network (torchvision's v1.5: stride in the 3x3 convolution)."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__()
        block = Bottleneck if arguments.depth >= 50 else BasicBlock
        channels = int(64 * arguments.width)
        self.pre_pad = arguments.pre_pad
        self.conv1 = (
            nn.Conv2d(3, channels, 7, 2, 3, bias=False)
            if arguments.stem == "imagenet"
            else nn.Conv2d(3, channels, 3, 1, 1, bias=False)
        )
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if arguments.stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        self.in_channels = channels
        for stage, count in enumerate(BLOCKS[arguments.depth]):
            layer = self._stage(block, channels * 2**stage, count, 1 if stage == 0 else 2, arguments)
            setattr(self, f"layer{stage + 1}", layer)
        self.width = self.in_channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.BatchNorm2d):
                module.eps = arguments.bn_eps

    def _stage(
        self, block: type[BasicBlock | Bottleneck], planes: int, count: int, stride: int, arguments: Arguments
    ) -> nn.Sequential:
        out = planes * block.expansion
        downsample = None
        if stride != 1 or self.in_channels != out:
            downsample = nn.Sequential(conv1x1(self.in_channels, out, stride), nn.BatchNorm2d(out))
        groups, width = arguments.groups, arguments.width_per_group
        blocks = [block(self.in_channels, planes, stride, downsample, groups, width)]
        self.in_channels = out
        blocks += [block(out, planes, groups=groups, base_width=width) for _ in range(count - 1)]
        return nn.Sequential(*blocks)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """`stem` and `layer1` to `layer4`, each `b c h w`."""
        x = F.pad(images, [self.pre_pad] * 4) if self.pre_pad else images
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = {"stem": x}
        for name in ("layer1", "layer2", "layer3", "layer4"):
            maps[name] = x = getattr(self, name)(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """The mean of the last map, `b d`."""
        return self.stages(images)["layer4"].mean((2, 3))


def build(arguments: Arguments) -> ResNet:
    """The network, with He initialisation."""
    return ResNet(arguments)


def zero_last_norms(backbone: nn.Module) -> None:
    """Start every residual branch at zero (torchvision's `zero_init_residual`)."""
    for module in backbone.modules():
        if isinstance(module, Bottleneck | BasicBlock):
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            nn.init.zeros_(cast(nn.BatchNorm2d, last).weight)


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """Read depth, width, groups and stem off the shapes; two stems of equal shapes give two proposals, plain first.

    Each is read in more than one place, so that one missing or misshapen tensor leaves the right network nearest.
    """
    blocks = [name.split(".") for name in shapes if re.match(r"layer[1-4]\.\d+\.", name)]
    counts = tuple(len({block for layer, block, *_ in blocks if layer == f"layer{i}"}) for i in (1, 2, 3, 4))
    if not all(counts):
        return []
    bottleneck = any(rest[0] == "conv3" for _, _, *rest in blocks)
    depths = [depth for depth in BLOCKS if (depth >= 50) == bottleneck]
    depth = min(depths, key=lambda depth: sum(abs(a - b) for a, b in zip(counts, BLOCKS[depth], strict=True)))
    stem = shapes.get("conv1.weight", ())
    kinds = {7: ["imagenet"], 3: ["cifar", "small_maxpool"]}.get(stem[-1] if stem else 0, ["imagenet", "cifar"])
    return [
        {"depth": depth, **widths, "stem": kind}
        for widths in _widths(shapes, bottleneck, len(counts))
        for kind in kinds
    ]


def _widths(shapes: Shapes, bottleneck: bool, stages: int) -> list[dict[str, Any]]:
    """The stem's and every stage's idea of `width`, `groups` and `width_per_group`, without repetition."""
    stem = [shapes[name][0] / 64 for name in ("conv1.weight", "bn1.weight") if shapes.get(name)]
    found: list[dict[str, Any]] = []
    for stage in range(stages):
        second = shapes.get(f"layer{stage + 1}.0.conv2.weight", ())
        if len(second) != 4 or not all(second[:2]):
            continue
        channels, groups = second[0] / 2**stage, max(1, second[0] // second[1])
        for width in dict.fromkeys(stem if bottleneck else [*stem, channels / 64]):
            per_group = round(channels / groups / width) if bottleneck else 64
            entry = {"width": width, "groups": groups if bottleneck else 1, "width_per_group": max(1, per_group)}
            if entry not in found:
                found.append(entry)
    return found


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a network."""
    full = Arguments.model_validate(dict(arguments))
    if full.stem == "imagenet":
        return []
    return [f"3x3 stem with padding 1, {'no' if full.stem == 'cifar' else 'a'} max-pool after it"]


def describe(arguments: Mapping[str, Any]) -> str:
    """`resnet50`, `wide_resnet50_2`, `resnext50_32x4d`, `resnet18-w0.25-cifar`."""
    full = Arguments.model_validate(dict(arguments))
    name = f"resnet{full.depth}"
    if full.groups > 1:
        name = f"resnext{full.depth}_{full.groups}x{full.width_per_group}d"
    elif full.width_per_group != 64:
        name = f"wide_{name}_{full.width_per_group / 64:g}"
    if full.width != 1:
        name += f"-w{full.width:g}"
    if full.stem != "imagenet":
        name += f"-{full.stem.replace('_', '-')}"
    return name + (f"-pad{full.pre_pad}" if full.pre_pad else "")
