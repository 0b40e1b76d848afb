"""Vision transformers through timm, in timm's names."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

import pydantic
import torch
from pydantic import Field
from timm.layers.mlp import Mlp, SwiGLUPacked
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from transferbench.backbones import Backbone
from transferbench.backbones._patches import require_whole
from transferbench.backbones._vit_parts import ConvStem, Resampling, resampled
from transferbench.backbones._vit_shapes import AMBIGUOUS, DEEPEST, propose, usual_heads
from transferbench.settings import Settings

__all__ = ["Arguments", "ViT", "assumptions", "build", "describe", "propose"]


class Arguments(Settings):
    """What fixes a vision transformer's computation."""

    image_size: int = Field(224, ge=1, le=8192, description="side of the images, pixels")
    patch_size: int = Field(16, ge=1, le=1024, description="side of a patch, pixels")
    dim: int = Field(384, ge=1, le=32_768, description="channels of a token")
    depth: int = Field(12, ge=1, le=DEEPEST, description="number of blocks")
    heads: int = Field(6, ge=1, le=1024, description="attention heads of a block")
    mlp_ratio: float = Field(4.0, gt=0, le=64, description="hidden channels of an MLP over its inputs")
    mlp: Literal["gelu", "swiglu"] = Field("gelu", description="the activation; swiglu gates one half by the other")
    qkv_bias: bool = Field(True, description="queries, keys and values have biases")
    class_token: bool = Field(True, description="a learned token in front of the patches")
    registers: int = Field(0, ge=0, le=1024, description="number of learned tokens beside the class token (DINOv2)")
    position_for_prefix: bool = Field(True, description="the position embedding has an entry for the class token")
    resampling: Resampling = Field("antialias", description="of the position embedding for images of another size")
    conv_stem: bool = Field(False, description="MoCo v3's convolutions instead of one for each patch")
    layer_scale: bool = Field(
        False, description="each block's outputs are scaled by learned factors, channel by channel"
    )
    norm_eps: float = Field(1e-6, gt=0, description="added to variances in layer normalization")
    pooling: Literal["token", "mean", "mean_all"] = Field(
        "token", description="class token, or mean over the patches or over all tokens"
    )
    norm_pooled: bool = Field(False, description="the last norm comes after the pooling (MAE's fine-tuned networks)")

    @pydantic.model_validator(mode="after")
    def _has_elements(self) -> "Arguments":
        if self.image_size < self.patch_size:
            raise ValueError(f"an image of {self.image_size} pixels has no patch of {self.patch_size}")
        if self.dim * self.mlp_ratio < 1:
            raise ValueError(f"mlp_ratio={self.mlp_ratio:g} leaves no hidden channel of {self.dim}")
        if self.conv_stem and self.patch_size.bit_count() != 1:
            raise ValueError(f"conv_stem halves the image: patch_size={self.patch_size} is no power of 2")
        return self


class ViT(VisionTransformer, Backbone):
    """A timm VisionTransformer whose features are the class token or a mean of tokens, normed before or after."""

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
            embed_layer=ConvStem if arguments.conv_stem else PatchEmbed,
            dynamic_img_size=True,
            fc_norm=arguments.norm_pooled,
            weight_init="skip" if torch.get_default_device().type == "meta" else "",
        )
        self.pooling = arguments.pooling if arguments.class_token or arguments.pooling != "token" else "mean"
        self.resampling: Resampling = arguments.resampling
        self.width = arguments.dim

    def _pos_embed(self, x: Tensor) -> Tensor:
        """Tokens, `b n c`, of patches, `b h w c`, with positions resampled as the source of the weights does."""
        grid, new = self.patch_embed.grid_size, (x.shape[1], x.shape[2])
        if self.resampling == "antialias" or grid == new:
            return super()._pos_embed(x)
        prefix = 0 if self.no_embed_class else self.num_prefix_tokens
        positions = cast(Tensor, self.pos_embed)
        patches = resampled(positions[:, prefix:], grid, new, self.resampling)
        zeros = positions.new_zeros(1, self.num_prefix_tokens - prefix, positions.shape[2])
        tokens = [token.expand(len(x), -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        return torch.cat([*tokens, x.flatten(1, 2)], 1) + torch.cat([positions[:, :prefix], zeros, patches], 1)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """The last block's patches as one map, `last`, `b c h w`."""
        require_whole(images, self.patch_embed.patch_size[0])
        patches = self.forward_features(images)[:, self.num_prefix_tokens :]
        rows = images.shape[-2] // self.patch_embed.patch_size[0]
        return {"last": patches.transpose(1, 2).unflatten(2, (rows, -1))}

    def tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        """Tokens of the last blocks, each `b n d`; a norm after the pooling has no part in them."""
        x = self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(images))))
        found: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number >= len(self.blocks) - layers:
                found.append(self.norm(x) if normed else x)
        return found

    def forward(self, images: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Class token or mean token, `b d`."""
        require_whole(images, self.patch_embed.patch_size[0])
        tokens = self.forward_features(images)
        if self.pooling == "token":
            pooled = tokens[:, 0]
        else:
            pooled = tokens[:, self.num_prefix_tokens if self.pooling == "mean" else 0 :].mean(1)
        return self.fc_norm(pooled)


def build(arguments: Arguments) -> ViT:
    """The network, with timm's initialization."""
    return ViT(arguments)


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a network."""
    full = Arguments.model_validate(dict(arguments))
    usual, others = usual_heads(full.dim, full.mlp), AMBIGUOUS.get(full.dim, ())
    said = f"{full.dim // full.heads} channels each" + ("" if full.heads == usual else f", where {usual} are usual")
    said += f"; published networks of this width have {', '.join(map(str, others))}" if others else ""
    means = {"token": "class token", "mean": "mean over the patches", "mean_all": "mean over all tokens"}
    return [f"{full.heads} attention heads ({said})", f"features are the {means[full.pooling]}"]


def describe(arguments: Mapping[str, Any]) -> str:
    """`vit-s16`, or `vit-192d4-p4` for sizes without a name of their own."""
    full = Arguments.model_validate(dict(arguments))
    named = {(192, 12): "ti", (384, 12): "s", (768, 12): "b", (1024, 24): "l", (1280, 32): "h", (1536, 40): "g"}
    size = named.get((full.dim, full.depth))
    name = f"vit-{size}{full.patch_size}" if size else f"vit-{full.dim}d{full.depth}-p{full.patch_size}"
    name += f"-h{full.heads}" if full.heads != usual_heads(full.dim, full.mlp) else ""
    return name + (f"-reg{full.registers}" if full.registers else "")
