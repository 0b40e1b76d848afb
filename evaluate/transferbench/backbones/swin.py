"""Swin transformers through timm, in timm's names."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic import Field

from transferbench.backbones import Backbone, Shapes, Tensors
from transferbench.backbones._layer_shapes import affine, conv, linear
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


def build(arguments: Arguments) -> Backbone:
    """The network, with timm's initialization."""
    from transferbench.backbones._swin_network import Swin

    return Swin(arguments)


def tensors(arguments: Arguments) -> Tensors:
    """What `build` would hold; beside its weights an index of each window's pairs of patches, in every block."""
    dim, side, beside = arguments.dim, arguments.image_size // arguments.patch_size, 0
    if not arguments.depths or len(arguments.heads) < len(arguments.depths):
        raise ValueError(f"{len(arguments.depths)} stages with {len(arguments.heads)} numbers of heads")
    shapes = conv("patch_embed.proj", 3, dim, arguments.patch_size) | affine("patch_embed.norm", dim)
    for stage, depth in enumerate(arguments.depths):
        place, heads = f"layers.{stage}", arguments.heads[stage]
        if stage:
            shapes |= affine(f"{place}.downsample.norm", 4 * dim)
            shapes |= linear(f"{place}.downsample.reduction", 4 * dim, 2 * dim, has_bias=False)
            dim, side = 2 * dim, (side + 1) // 2
        if depth and heads > dim:
            raise ValueError(f"{heads} heads share {dim} channels")
        window, inner = min(side, arguments.window), dim // heads * heads
        for block in (f"{place}.blocks.{number}" for number in range(depth)):
            shapes |= affine(f"{block}.norm1", dim)
            shapes[f"{block}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
            shapes |= linear(f"{block}.attn.qkv", dim, 3 * inner, arguments.qkv_bias)
            shapes |= linear(f"{block}.attn.proj", inner, dim)
            shapes |= affine(f"{block}.norm2", dim)
            shapes |= linear(f"{block}.mlp.fc1", dim, int(dim * arguments.mlp_ratio))
            shapes |= linear(f"{block}.mlp.fc2", int(dim * arguments.mlp_ratio), dim)
        beside += depth * window**4
    return Tensors(shapes | affine("norm", dim), dim, beside)


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
