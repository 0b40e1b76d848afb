"""Vision transformers through timm, in timm's names."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from pydantic import Field
from timm.layers.mlp import Mlp, SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from transferbench.backbones import Backbone, Shapes
from transferbench.settings import Settings


class Arguments(Settings):
    """What fixes a vision transformer's computation."""

    image_size: int = Field(224, ge=1)
    patch_size: int = Field(16, ge=1)
    dim: int = Field(384, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    mlp: Literal["gelu", "swiglu"] = "gelu"
    qkv_bias: bool = True
    class_token: bool = True
    registers: int = Field(0, ge=0)
    position_for_prefix: bool = Field(True, description="the position embedding has an entry for the class token")
    layer_scale: bool = False
    norm_eps: float = Field(1e-6, gt=0)
    pooling: Literal["token", "mean"] = Field("token", description="class token, or mean over patches")


class ViT(VisionTransformer, Backbone):
    """A timm VisionTransformer whose features are the class token, or the mean patch, after the last norm."""

    def __init__(self, arguments: Arguments) -> None:
        swiglu = arguments.mlp == "swiglu"
        super().__init__(
            img_size=arguments.image_size,
            patch_size=arguments.patch_size,
            num_classes=0,
            global_pool="token" if arguments.class_token else "avg",
            embed_dim=arguments.dim,
            depth=arguments.depth,
            num_heads=arguments.heads,
            mlp_ratio=arguments.mlp_ratio,
            qkv_bias=arguments.qkv_bias,
            init_values=1.0 if arguments.layer_scale else None,
            class_token=arguments.class_token,
            reg_tokens=arguments.registers,
            no_embed_class=not arguments.position_for_prefix,
            norm_layer=partial(nn.LayerNorm, eps=arguments.norm_eps),
            mlp_layer=SwiGLUPacked if swiglu else Mlp,
            act_layer=nn.SiLU if swiglu else nn.GELU,
            dynamic_img_size=True,
            fc_norm=False,
        )
        self.pooling = arguments.pooling if arguments.class_token else "mean"
        self.width = arguments.dim

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        patches = self.forward_features(images)[:, self.num_prefix_tokens :]
        rows = images.shape[-2] // self.patch_embed.patch_size[0]
        return {"last": patches.transpose(1, 2).unflatten(2, (rows, -1))}

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.forward_features(x)
        return tokens[:, 0] if self.pooling == "token" else tokens[:, self.num_prefix_tokens :].mean(1)


def build(arguments: Arguments) -> ViT:
    return ViT(arguments)


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """Read size, patch, width, depth and tokens off the shapes. Heads are not in them: 64 channels a head is assumed."""
    patch, position = shapes.get("patch_embed.proj.weight"), shapes.get("pos_embed")
    if patch is None or position is None or len(patch) != 4 or len(position) != 3:
        return []
    dim, _, _, patch_size = patch
    has_class = "cls_token" in shapes
    registers = shapes.get("reg_token", (1, 0, dim))[1]
    fc1, fc2 = shapes.get("blocks.0.mlp.fc1.weight"), shapes.get("blocks.0.mlp.fc2.weight")
    if not fc1 or not fc2:
        return []
    packed = fc1[0] == 2 * fc2[1]
    common = {
        "patch_size": patch_size,
        "dim": dim,
        "depth": len({name.split(".")[1] for name in shapes if name.startswith("blocks.")}),
        "heads": max(1, dim // 64),
        "mlp_ratio": fc1[0] / dim,
        "mlp": "swiglu" if packed else "gelu",
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "class_token": has_class,
        "registers": registers,
        "layer_scale": "blocks.0.ls1.gamma" in shapes,
        "pooling": "token" if has_class else "mean",
    }
    proposals = []
    for for_prefix in (True, False):
        grid = math.isqrt(position[1] - for_prefix * (has_class + registers))
        if grid**2 + for_prefix * (has_class + registers) == position[1]:
            proposals.append({**common, "image_size": grid * patch_size, "position_for_prefix": for_prefix})
    return proposals


def describe(arguments: Mapping[str, Any]) -> str:
    """`vit-s16`, or `vit-192d4-p4` for sizes without a name of their own."""
    full = Arguments.model_validate(dict(arguments))
    named = {(192, 12): "ti", (384, 12): "s", (768, 12): "b", (1024, 24): "l", (1280, 32): "h", (1536, 40): "g"}
    size = named.get((full.dim, full.depth))
    name = f"vit-{size}{full.patch_size}" if size else f"vit-{full.dim}d{full.depth}-p{full.patch_size}"
    return name + (f"-reg{full.registers}" if full.registers else "")
