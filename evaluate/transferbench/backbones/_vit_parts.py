"""Parts of vision transformers that timm has not: MoCo v3's stem, and other ways to resample positions."""

import math
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

Resampling = Literal["antialias", "plain", "offset"]


class ConvStem(nn.Module):
    """MoCo v3's patch embedding for patches of 16: four 3x3 convolutions of stride 2, then one of 1x1, `b h w c`."""

    def __init__(self, img_size: int, patch_size: int, in_chans: int, embed_dim: int, **_: Any) -> None:
        super().__init__()
        self.patch_size, self.img_size = (patch_size, patch_size), (img_size, img_size)
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        channels, layers = in_chans, []
        for step in range(round(math.log2(patch_size))):
            out = embed_dim // 8 * 2**step
            layers += [nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        self.proj = nn.Sequential(*layers, nn.Conv2d(channels, embed_dim, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Patches, `b h w c`."""
        return self.proj(images).permute(0, 2, 3, 1)


def resampled(positions: Tensor, grid: tuple[int, int], new: tuple[int, int], way: Resampling) -> Tensor:
    """Positions `1 n c` of a grid of patches for another grid, bicubic.

    `offset` is DINO's and DINOv2's own: the scale is that of a grid 0.1 larger, without antialiasing
    (docs/checkpoints.md#traps). `plain` interpolates to the size without antialiasing, as transformers does.
    """
    image = positions.reshape(1, *grid, -1).permute(0, 3, 1, 2).float()
    if way == "offset":
        scale = tuple((target + 0.1) / math.sqrt(grid[0] * grid[1]) for target in new)
        image = F.interpolate(image, scale_factor=scale, mode="bicubic")
    else:
        image = F.interpolate(image, size=new, mode="bicubic", antialias=way == "antialias")
    return image.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)
