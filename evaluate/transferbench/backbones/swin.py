"""Swin transformers through timm, in timm's names."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import pydantic
import torch
from pydantic import Field
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from transferbench.backbones import Backbone, Shapes
from transferbench.backbones._patches import require_whole
from transferbench.settings import Settings

STAGES = 8
"""Of a network at most; published ones have 4."""


class Arguments(Settings):
    """What fixes a Swin transformer's computation."""

    image_size: int = Field(224, ge=1, le=8192, description="side of the images, pixels")
    patch_size: int = Field(4, ge=1, le=1024, description="side of a patch, pixels")
    dim: int = Field(96, ge=1, le=4096, description="channels of the first stage, doubled with each")
    depths: tuple[Annotated[int, Field(ge=0, le=64)], ...] = Field(
        (2, 2, 6, 2), max_length=STAGES, description="blocks of each stage"
    )
    heads: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        (3, 6, 12, 24), max_length=STAGES, description="attention heads of each stage"
    )
    window: int = Field(7, ge=1, le=64, description="side of an attention window, patches")
    mlp_ratio: float = Field(4.0, gt=0, le=64, description="hidden channels of an MLP over its inputs")
    qkv_bias: bool = Field(True, description="queries, keys and values have biases")
    norm_eps: float = Field(1e-5, gt=0, description="added to variances in layer normalization")

    @pydantic.model_validator(mode="after")
    def _has_elements(self) -> "Arguments":
        if self.image_size < self.patch_size:
            raise ValueError(f"an image of {self.image_size} pixels has no patch of {self.patch_size}")
        if self.dim * self.mlp_ratio < 1:
            raise ValueError(f"mlp_ratio={self.mlp_ratio:g} leaves no hidden channel of {self.dim}")
        return self


class Swin(SwinTransformer, Backbone):
    """A timm SwinTransformer whose features are the mean of its last map after the last norm."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__(
            img_size=arguments.image_size,
            patch_size=arguments.patch_size,
            num_classes=0,
            embed_dim=arguments.dim,
            depths=arguments.depths,
            num_heads=arguments.heads,
            window_size=arguments.window,
            mlp_ratio=arguments.mlp_ratio,
            qkv_bias=arguments.qkv_bias,
            drop_path_rate=0.0,
            strict_img_size=False,
            norm_layer=partial(nn.LayerNorm, eps=arguments.norm_eps),  # pyright: ignore[reportArgumentType]
            weight_init="skip" if torch.get_default_device().type == "meta" else "",
        )
        self.width, self.patch_side = int(self.num_features), arguments.patch_size

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Each stage's map, `layer1` to `layer4`, `b c h w`; the last one is normed."""
        maps = self._maps(images, True)
        return {f"layer{number}": each.permute(0, 3, 1, 2) for number, each in enumerate(maps, 1)}

    def tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        """Patches of the last stages, each `b n d` with its own n and d; the norm is for those of the last stage."""
        return [each.flatten(1, 2) for each in self._maps(images, normed)[-layers:]]

    def _maps(self, images: Tensor, normed: bool) -> list[Tensor]:
        """Each stage's map, `b h w c`, the last one through the norm or before it."""
        require_whole(images, self.patch_side)
        x, maps = self.patch_embed(images), list[Tensor]()
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return [*maps[:-1], self.norm(x)] if normed else maps

    def forward(self, images: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The mean of the last map, `b d`."""
        require_whole(images, self.patch_side)
        return self.forward_features(images).mean((1, 2))


def build(arguments: Arguments) -> Swin:
    """The network, with timm's initialization."""
    return Swin(arguments)


FIRST_NORM = re.compile(r"patch_embed\.norm\.\w+|layers\.0\.blocks\.\d+\.norm\d\.\w+")
"""Vectors as wide as the network begins: most of them are right where one is misshapen."""


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """Read width, depths, heads and window off the shapes; the image is 8 windows wide, as in published networks."""
    blocks = {
        tuple(map(int, m.groups())) for name in shapes if (m := re.match(r"layers\.(\d+)\.blocks\.(\d+)\.", name))
    }
    tables = {}
    for name, shape in shapes.items():
        match = re.fullmatch(r"layers\.(\d+)\.blocks\.\d+\.attn\.relative_position_bias_table", name)
        if match and len(shape) == 2:
            tables.setdefault(int(match[1]), shape)
    if not blocks or not tables:
        return []
    stages = max(stage for stage, _ in blocks) + 1
    if stages > STAGES:
        return []
    first = min(tables)
    window = (math.isqrt(tables[first][0]) + 1) // 2
    patch = next((s for n in ("patch_embed.proj.weight",) if len(s := shapes.get(n, ())) == 4), (96, 3, 4, 4))
    norms = Counter(shape[0] for name, shape in shapes.items() if FIRST_NORM.fullmatch(name) and shape)
    dim = norms.most_common(1)[0][0] if norms else patch[0]
    return [
        {
            "image_size": window * 2 ** (stages - 1) * patch[2],
            "patch_size": patch[2],
            "dim": dim,
            "depths": tuple(sum(stage == each for each, _ in blocks) for stage in range(stages)),
            "heads": tuple(tables[stage][1] if stage in tables else dim * 2**stage // 32 for stage in range(stages)),
            "window": window,
            "qkv_bias": any(name.endswith("attn.qkv.bias") for name in shapes),
        }
    ]


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a network."""
    return ["features are the mean over the last map"]


def describe(arguments: Mapping[str, Any]) -> str:
    """`swin-t4-w7`, or `swin-96d2.2.6.2-w6` for sizes without a name of their own."""
    full = Arguments.model_validate(dict(arguments))
    named = {(96, 6): "t", (96, 18): "s", (128, 18): "b", (192, 18): "l"}
    size = named.get((full.dim, full.depths[2] if len(full.depths) > 2 else 0))
    spelled = f"{full.dim}d{'.'.join(map(str, full.depths))}"
    return f"swin-{f'{size}{full.patch_size}' if size else spelled}-w{full.window}"
