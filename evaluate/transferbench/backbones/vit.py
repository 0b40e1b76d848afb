"""Vision transformers through timm, in timm's names."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

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
            mlp_layer=cast(type[nn.Module], SwiGLUPacked if swiglu else Mlp),
            act_layer=nn.SiLU if swiglu else nn.GELU,
            dynamic_img_size=True,
            fc_norm=False,
        )
        self.pooling = arguments.pooling if arguments.class_token else "mean"
        self.width = arguments.dim

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """The last block's patches as one map, `last`, `b c h w`."""
        patches = self.forward_features(images)[:, self.num_prefix_tokens :]
        rows = images.shape[-2] // self.patch_embed.patch_size[0]
        return {"last": patches.transpose(1, 2).unflatten(2, (rows, -1))}

    def forward(self, images: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Class token or mean patch, `b d`."""
        tokens = self.forward_features(images)
        return tokens[:, 0] if self.pooling == "token" else tokens[:, self.num_prefix_tokens :].mean(1)


def build(arguments: Arguments) -> ViT:
    """The network, with timm's initialisation."""
    return ViT(arguments)


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """Read size, patch, width, depth and tokens off the shapes, heads as 64 channels each, likeliest first.

    Each is read in more than one place, so that one missing or misshapen tensor leaves the right network nearest.
    """
    blocks = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    dim = _usual(shapes, r"blocks\.\d+\.norm[12]\.(weight|bias)", 0)
    hidden = _usual(shapes, r"blocks\.\d+\.mlp\.fc1\.(weight|bias)", 0)
    if not blocks or not dim or not hidden:
        return []
    patch, registers = shapes.get("patch_embed.proj.weight", ()), shapes.get("reg_token", ())
    common = {
        "patch_size": patch[2] if len(patch) == 4 else 16,
        "dim": dim,
        "depth": len(blocks),
        "heads": dim // 64 if dim >= 64 and dim % (dim // 64) == 0 else 1,
        "mlp_ratio": hidden / dim,
        "mlp": "swiglu" if hidden == 2 * _usual(shapes, r"blocks\.\d+\.mlp\.fc2\.weight", 1) else "gelu",
        "qkv_bias": any(name.endswith("attn.qkv.bias") for name in shapes),
        "registers": registers[1] if len(registers) == 3 else 0,
        "layer_scale": any(name.endswith("ls1.gamma") for name in shapes),
    }
    return [{**common, **tokens} for tokens in _tokens(shapes, common["patch_size"], common["registers"])]


def _tokens(shapes: Shapes, patch_size: int, registers: int) -> list[dict[str, Any]]:
    """Which tokens have a position, by the square grid that is left for the patches."""
    has_class, position = "cls_token" in shapes, shapes.get("pos_embed", ())
    length = position[1] if len(position) == 3 else (224 // patch_size) ** 2 + has_class + registers
    found = []
    for class_token, for_prefix in ((has_class, True), (has_class, False), (True, True)):
        patches = length - for_prefix * (class_token + registers)
        grid = math.isqrt(max(1, patches))
        tokens = {"class_token": class_token, "position_for_prefix": for_prefix, "image_size": grid * patch_size}
        found.append((grid**2 != patches, {**tokens, "pooling": "token" if class_token else "mean"}))
    return [tokens for is_uneven, tokens in found if not is_uneven] or [found[0][1]]


def _usual(shapes: Shapes, pattern: str, axis: int) -> int:
    """The size most tensors of these names have along an axis; 0 when there is none."""
    sizes = Counter(shape[axis] for name, shape in shapes.items() if len(shape) > axis and re.fullmatch(pattern, name))
    return sizes.most_common(1)[0][0] if sizes else 0


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a network."""
    full = Arguments.model_validate(dict(arguments))
    return [
        f"{full.heads} attention heads (64 channels each)",
        f"features are the {'class token' if full.pooling == 'token' else 'mean over the patches'}",
    ]


def describe(arguments: Mapping[str, Any]) -> str:
    """`vit-s16`, or `vit-192d4-p4` for sizes without a name of their own."""
    full = Arguments.model_validate(dict(arguments))
    named = {(192, 12): "ti", (384, 12): "s", (768, 12): "b", (1024, 24): "l", (1280, 32): "h", (1536, 40): "g"}
    size = named.get((full.dim, full.depth))
    name = f"vit-{size}{full.patch_size}" if size else f"vit-{full.dim}d{full.depth}-p{full.patch_size}"
    return name + (f"-reg{full.registers}" if full.registers else "")
