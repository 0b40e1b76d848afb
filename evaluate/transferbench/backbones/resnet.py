"""ResNets from torchvision's blocks, in torchvision's names, with the stems and widths published checkpoints use."""

from collections.abc import Mapping
from typing import Any, Literal

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
        shape = {"groups": arguments.groups, "base_width": arguments.width_per_group}
        blocks = [block(self.in_channels, planes, stride, downsample, **shape)]
        self.in_channels = out
        blocks += [block(out, planes, **shape) for _ in range(count - 1)]
        return nn.Sequential(*blocks)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        x = F.pad(images, [self.pre_pad] * 4) if self.pre_pad else images
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = {"stem": x}
        for name in ("layer1", "layer2", "layer3", "layer4"):
            maps[name] = x = getattr(self, name)(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images)["layer4"].mean((2, 3))


def build(arguments: Arguments) -> ResNet:
    return ResNet(arguments)


def zero_last_norms(backbone: nn.Module) -> None:
    """Start every residual branch at zero (torchvision's `zero_init_residual`)."""
    for module in backbone.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """Read depth, width, groups and stem off the shapes; two stems of equal shapes give two proposals, plain first."""
    stem = shapes.get("conv1.weight")
    second = shapes.get("layer1.0.conv2.weight")
    if stem is None or second is None or len(stem) != 4 or len(second) != 4:
        return []
    bottleneck = "layer1.0.conv3.weight" in shapes
    counts = tuple(len({n.split(".")[1] for n in shapes if n.startswith(f"layer{i}.")}) for i in (1, 2, 3, 4))
    nearest = sorted(
        (sum(abs(a - b) for a, b in zip(counts, BLOCKS[depth], strict=True)), depth)
        for depth in BLOCKS
        if (depth >= 50) == bottleneck
    )
    width = stem[0] / 64
    groups = max(1, second[0] // second[1])
    return [
        {
            "depth": nearest[0][1],
            "width": width,
            "groups": groups,
            "width_per_group": round(second[0] / groups / width) if bottleneck else 64,
            "stem": kind,
        }
        for kind in (["imagenet"] if stem[-1] == 7 else ["cifar", "small_maxpool"])
    ]


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
