"""ResNets in torchvision's names, with the stems, widths and paddings checkpoints use."""

from collections.abc import Mapping
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from transferbench.backbones import Backbone
from transferbench.backbones._padding import pad_same
from transferbench.backbones._residual_blocks import BasicBlock, Bottleneck, conv1x1, conv3x3
from transferbench.backbones._resnet_shapes import BLOCKS, propose
from transferbench.settings import Settings

__all__ = ["Arguments", "ResNet", "assumptions", "build", "describe", "propose", "zero_last_norms"]


class Arguments(Settings):
    """What fixes a ResNet's computation."""

    depth: Literal[10, 18, 26, 34, 50, 101, 152, 200] = Field(
        50, description="number of layers, as in ResNet-50; 50 and more have bottlenecks"
    )
    width: float = Field(1.0, gt=0, le=64, description="multiplies the channels of the stem and of every stage")
    groups: int = Field(1, ge=1, le=4096, description="groups of the 3x3 convolutions (ResNeXt)")
    width_per_group: int = Field(
        64, ge=1, le=4096, description="channels of a group in the first stage; 128 with one group is a wide ResNet"
    )
    stem: Literal["imagenet", "cifar", "small_maxpool", "deep"] = Field(
        "imagenet", description="7x7 stride 2 and max-pool | 3x3 without | 3x3 with max-pool | three 3x3 and max-pool"
    )
    conv1_padding: int | None = Field(None, ge=0, le=64, description="of the stem's convolution; none: half its kernel")
    conv1_bias: bool = Field(False, description="the stem's convolution has a bias")
    pre_pad: int = Field(0, ge=0, le=64, description="zero padding in front of the stem (INTL's CIFAR code pads by 1)")
    same_padding: bool = Field(False, description="every layer pads as TensorFlow does, uneven at stride 2")
    stride_in_1x1: bool = Field(False, description="bottlenecks stride in their first convolution (MSRA, Caffe2)")
    avg_down: bool = Field(False, description="shortcuts average before a convolution without stride (ResNet-D)")
    bn_eps: float = Field(1e-5, gt=0, description="added to variances in batch normalization")


class ResNet(Backbone):
    """Pooled features of He et al.'s residual network (torchvision's v1.5: stride in the 3x3 convolution)."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__()
        kind, counts = BLOCKS[arguments.depth]
        block = Bottleneck if kind == "bottleneck" else BasicBlock
        channels = int(64 * arguments.width)
        self.pre_pad = arguments.pre_pad
        self.conv1 = _stem(arguments, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if arguments.stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        self.in_channels = channels
        for stage, count in enumerate(counts):
            layer = self._stage(block, channels * 2**stage, count, 1 if stage == 0 else 2, arguments)
            setattr(self, f"layer{stage + 1}", layer)
        self.width = self.in_channels
        for module in self.modules():
            _settle(module, arguments)
        if arguments.same_padding:
            pad_same(self)

    def _stage(
        self, block: type[BasicBlock | Bottleneck], planes: int, count: int, stride: int, arguments: Arguments
    ) -> nn.Sequential:
        out = planes * block.expansion
        downsample = None
        if stride != 1 or self.in_channels != out:
            downsample = _shortcut(self.in_channels, out, stride, arguments.avg_down)
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


def _stem(arguments: Arguments, channels: int) -> nn.Module:
    """The first convolution; of the deep stem (ResNet-C and -D) three with norms between them."""
    if arguments.stem == "deep":
        half, act = channels // 2, nn.ReLU(inplace=True)
        first, second = conv3x3(3, half, 2), conv3x3(half, half)
        return nn.Sequential(
            first, nn.BatchNorm2d(half), act, second, nn.BatchNorm2d(half), act, conv3x3(half, channels)
        )
    kernel, stride = (7, 2) if arguments.stem == "imagenet" else (3, 1)
    padding = kernel // 2 if arguments.conv1_padding is None else arguments.conv1_padding
    return nn.Conv2d(3, channels, kernel, stride, padding, bias=arguments.conv1_bias)


def _shortcut(channels: int, out: int, stride: int, averages: bool) -> nn.Sequential:
    if not averages:
        return nn.Sequential(conv1x1(channels, out, stride), nn.BatchNorm2d(out))
    pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, conv1x1(channels, out), nn.BatchNorm2d(out))


def _settle(module: nn.Module, arguments: Arguments) -> None:
    """Initial weights, epsilon and the place of the stride."""
    if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # there it would import torch's compiler
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, nn.BatchNorm2d):
        module.eps = arguments.bn_eps
    if isinstance(module, Bottleneck) and arguments.stride_in_1x1:
        module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride


def build(arguments: Arguments) -> ResNet:
    """The network, with He initialization."""
    return ResNet(arguments)


def zero_last_norms(backbone: nn.Module) -> None:
    """Start every residual branch at zero (torchvision's `zero_init_residual`)."""
    for module in backbone.modules():
        if isinstance(module, Bottleneck | BasicBlock):
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            nn.init.zeros_(last.weight)


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a network."""
    full = Arguments.model_validate(dict(arguments))
    if full.stem in {"imagenet", "deep"}:
        return []
    padding = 1 if full.conv1_padding is None else full.conv1_padding
    return [f"3x3 stem with padding {padding}, {'no' if full.stem == 'cifar' else 'a'} max-pool after it"]


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
    marks = {
        f"-pad{full.pre_pad}": full.pre_pad,
        f"-conv1pad{full.conv1_padding}": full.conv1_padding is not None,
        "-avgdown": full.avg_down,
        "-same": full.same_padding,
        "-stride1x1": full.stride_in_1x1,
    }
    return name + "".join(mark for mark, holds in marks.items() if holds)
