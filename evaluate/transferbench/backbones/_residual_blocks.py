"""The two blocks of a residual network (He et al., arXiv 1512.03385), their parts named as torchvision names them.

torchvision's own would do, but importing them costs more than torch; `tests/evaluate/backbones` holds the two equal, in
their initial weights too.
"""

from torch import Tensor, nn

PLAIN = 64
"""`base_width` of a block without a factor on its inner channels."""


def conv3x3(channels: int, out: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(channels, out, 3, stride, 1, groups=groups, bias=False)


def conv1x1(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    """A 1x1 convolution without bias."""
    return nn.Conv2d(channels, out, 1, stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, the first with the stride, beside a shortcut."""

    expansion = 1

    def __init__(
        self,
        channels: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = PLAIN,
    ) -> None:
        super().__init__()
        if (groups, base_width) != (1, PLAIN):
            raise ValueError(f"basic blocks have groups=1 and width_per_group={PLAIN}")
        self.conv1 = conv3x3(channels, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """A map `b c h w` of `planes` channels."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x += shortcut
        return self.relu(x)


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 (with stride and groups) and a 1x1 convolution beside a shortcut: version 1.5 of the ResNet."""

    expansion = 4

    def __init__(
        self,
        channels: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = PLAIN,
    ) -> None:
        super().__init__()
        inner = int(planes * (base_width / PLAIN)) * groups
        self.conv1 = conv1x1(channels, inner)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv3x3(inner, inner, stride, groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = conv1x1(inner, planes * self.expansion)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """A map `b c h w` of four times `planes` channels."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x += shortcut
        return self.relu(x)
