"""Vision transformers through timm, in timm's names."""

from collections.abc import Mapping
from typing import Any, Literal

import pydantic
from pydantic import Field

from transferbench.backbones import COUNTER, Backbone, Tensors
from transferbench.backbones._layer_shapes import affine, conv, linear
from transferbench.backbones._vit_parts import Resampling
from transferbench.backbones._vit_shapes import AMBIGUOUS, DEEPEST, propose, usual_heads
from transferbench.settings import Settings

__all__ = ["Arguments", "assumptions", "build", "describe", "propose", "tensors"]


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


def build(arguments: Arguments) -> Backbone:
    """The network, with timm's initialization."""
    from transferbench.backbones._vit_network import ViT

    return ViT(arguments)


def tensors(arguments: Arguments) -> Tensors:
    """What `build` would hold."""
    dim, hidden, swiglu = arguments.dim, int(arguments.dim * arguments.mlp_ratio), arguments.mlp == "swiglu"
    if dim % arguments.heads:
        raise ValueError(f"dim={dim} should be divisible by heads={arguments.heads}")
    if swiglu and hidden % 2:
        raise ValueError(f"swiglu halves the {hidden} hidden channels")
    prefix = int(arguments.class_token) + arguments.registers
    patches = (arguments.image_size // arguments.patch_size) ** 2
    shapes: dict[str, tuple[int, ...]] = {}
    if arguments.class_token:
        shapes["cls_token"] = (1, 1, dim)
    if arguments.registers:
        shapes["reg_token"] = (1, arguments.registers, dim)
    shapes["pos_embed"] = (1, patches + (prefix if arguments.position_for_prefix else 0), dim)
    shapes |= _conv_stem(arguments) if arguments.conv_stem else conv("patch_embed.proj", 3, dim, arguments.patch_size)
    for block in (f"blocks.{number}" for number in range(arguments.depth)):
        scale = {f"{block}.ls1.gamma": (dim,)} if arguments.layer_scale else {}
        shapes |= affine(f"{block}.norm1", dim)
        shapes |= linear(f"{block}.attn.qkv", dim, 3 * dim, arguments.qkv_bias)
        shapes |= linear(f"{block}.attn.proj", dim, dim) | scale
        shapes |= affine(f"{block}.norm2", dim)
        shapes |= linear(f"{block}.mlp.fc1", dim, hidden)
        shapes |= linear(f"{block}.mlp.fc2", hidden // 2 if swiglu else hidden, dim)
        shapes |= {f"{block}.ls2.gamma": (dim,)} if arguments.layer_scale else {}
    return Tensors(shapes | affine("fc_norm" if arguments.norm_pooled else "norm", dim), dim)


def _conv_stem(arguments: Arguments) -> dict[str, tuple[int, ...]]:
    """The tensors of `_vit_parts.ConvStem`."""
    channels, shapes = 3, dict[str, tuple[int, ...]]()
    steps = arguments.patch_size.bit_length() - 1
    for step in range(steps):
        out = arguments.dim // 8 * 2**step
        if not out:
            raise ValueError(f"dim={arguments.dim} leaves the stem's convolutions without channels")
        place = f"patch_embed.proj.{3 * step + 1}"
        shapes |= {f"patch_embed.proj.{3 * step}.weight": (out, channels, 3, 3)} | affine(place, out)
        shapes |= {f"{place}.running_mean": (out,), f"{place}.running_var": (out,), f"{place}.{COUNTER}": ()}
        channels = out
    return shapes | conv(f"patch_embed.proj.{3 * steps}", channels, arguments.dim, 1)


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
