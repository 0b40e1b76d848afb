"""A feature pyramid: maps of one width at every stride, each with what the coarser ones know."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from transferbench.detection.recipe.keys import PyramidKeys


class Merged(nn.Module):
    """A convolution and, with `NORM`, batch normalization in place of its bias."""

    def __init__(self, channels: int, keys: PyramidKeys, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, keys.OUT_CHANNELS, kernel, padding=kernel // 2, bias=not keys.NORM)
        self.norm = nn.BatchNorm2d(keys.OUT_CHANNELS) if keys.NORM else nn.Identity()
        nn.init.kaiming_uniform_(self.conv.weight, a=1)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The map in the pyramid's width."""
        return self.norm(self.conv(x))


class Pyramid(nn.Module):
    """Lin et al.'s: from the coarsest stage down, each doubled in size and added to the next finer one.

    One more level is every second place of the coarsest (Detectron2's `LastLevelMaxPool`;
    docs/protocols.md#torchvision).
    """

    def __init__(self, channels: Sequence[int], keys: PyramidKeys) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([Merged(each, keys, 1) for each in channels])
        self.output = nn.ModuleList([Merged(keys.OUT_CHANNELS, keys, 3) for _ in channels])

    def forward(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> list[Float[Tensor, "b c _ _"]]:
        """One map a stage, finest first, and the extra one."""
        merged = [lateral(each) for lateral, each in zip(self.lateral, maps, strict=True)]
        for finer in reversed(range(len(merged) - 1)):
            merged[finer] = merged[finer] + F.interpolate(merged[finer + 1], scale_factor=2.0, mode="nearest")
        levels = [output(each) for output, each in zip(self.output, merged, strict=True)]
        return [*levels, F.max_pool2d(levels[-1], 1, 2)]
