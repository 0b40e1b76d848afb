"""CAPI's encoder with the first layer of its decoder (Darcet et al., arXiv 2502.08769; facebookresearch/capi)."""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from transferbench.backbones import Backbone, Shapes
from transferbench.backbones._patches import require_whole
from transferbench.settings import Settings

EPS = 1e-5
"""Added to mean squares by its norms."""
FASTEST, SLOWEST = 7.0, 7e-4
"""Turns of a channel from one edge of the image to the other, before any training."""
BLOCK = re.compile(r"encoder\.(\d+)\..+")


class Arguments(Settings):
    """What fixes such a network's computation."""

    patch_size: int = Field(14, ge=1, le=1024, description="side of a patch, pixels")
    dim: int = Field(1024, ge=4, le=32_768, description="channels of a token")
    depth: int = Field(24, ge=1, le=256, description="blocks of the encoder")
    heads: int = Field(16, ge=1, le=1024, description="attention heads of a block")
    hidden: int = Field(4096, ge=1, le=1 << 20, description="hidden channels of an MLP")
    registers: int = Field(16, ge=4, le=1024, description="learned tokens on the image's edge")

    @model_validator(mode="after")
    def _divides(self) -> "Arguments":
        if self.dim % (4 * self.heads) or self.registers % 4:
            raise ValueError("heads have a multiple of 4 channels each, and each of four edges as many registers")
        return self


class Rotary(nn.Module):
    """Turns channels by angles that grow with a token's place: one half along rows, the other along columns."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        turns = FASTEST * (SLOWEST / FASTEST) ** torch.linspace(0, 1, channels // 4).repeat(2)
        self.freqs = nn.Parameter(2 * math.pi * torch.block_diag(turns[None], turns[None]))

    def forward(self, x: Float[Tensor, "b h n c"], places: Float[Tensor, "n 2"]) -> Float[Tensor, "b h n c"]:
        """Channel c is mixed with c + C/2, each by an angle of its own."""
        angles, (first, second) = places @ self.freqs, x.chunk(2, -1)
        return x * angles.cos() + torch.cat([-second, first], -1) * angles.sin()


class Attention(nn.Module):
    """Of tokens to a context, both rotated by their places."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.v_proj, self.proj = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.rope = Rotary(dim // heads)

    def forward(
        self, x: Float[Tensor, "b n d"], places: Tensor, context: Float[Tensor, "b m d"], where: Tensor
    ) -> Float[Tensor, "b n d"]:
        """`places` of the tokens, `n 2`, and `where` the context lies, `m 2`."""
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in (self.q_proj(x), self.k_proj(context), self.v_proj(context))
        )
        mixed = F.scaled_dot_product_attention(self.rope(query, places), self.rope(key, where), value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and an MLP, each normed before and added."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__()
        dim, hidden = arguments.dim, arguments.hidden
        self.norm1, self.norm2 = nn.RMSNorm(dim, EPS), nn.RMSNorm(dim, EPS)
        self.attn = Attention(dim, arguments.heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, hidden, bias=False), "fc2": nn.Linear(hidden, dim, bias=False)})

    def forward(self, x: Tensor, places: Tensor, context: Tensor | None = None, where: Tensor | None = None) -> Tensor:
        """Without a context the tokens attend to one another."""
        normed = self.norm1(x)
        among = (normed, places) if context is None or where is None else (context, where)
        x = x + self.attn(normed, places, *among)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class CAPI(Backbone):
    """Features are the mean over all places of what the decoder's first layer predicts there, normed."""

    has_class_token = False

    def __init__(self, arguments: Arguments) -> None:
        super().__init__()
        self.patch_side, self.num_prefix_tokens, self.width = arguments.patch_size, arguments.registers, arguments.dim
        self.patch_embed = nn.Conv2d(3, arguments.dim, self.patch_side, self.patch_side)
        self.registers = nn.Parameter(0.02 * torch.randn(1, arguments.registers, arguments.dim))
        self.mask = nn.Parameter(0.02 * torch.randn(1, arguments.dim))
        self.encoder = nn.ModuleList(Block(arguments) for _ in range(arguments.depth))
        self.decoder = Block(arguments)

    def encoded(self, images: Float[Tensor, "b 3 h w"]) -> tuple[list[Tensor], Tensor, Tensor]:
        """Tokens behind each block, `b n d`; places of the patches, `p 2`, and of all tokens, registers first."""
        require_whole(images, self.patch_side)
        patches = self.patch_embed(images)
        sides = [torch.linspace(0, 1, size, device=images.device) for size in patches.shape[2:]]
        grid = torch.cartesian_prod(*sides)
        places = torch.cat([self._edge(grid), grid])
        x = torch.cat([self.registers.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        layers: list[Tensor] = []
        for block in self.encoder:
            x = block(x, places)
            layers.append(x)
        return layers, grid, places

    def _edge(self, grid: Float[Tensor, "p 2"]) -> Float[Tensor, "r 2"]:
        """Places of the registers: once around the image, as many on each edge."""
        count = self.num_prefix_tokens // 4
        along = torch.arange(count, device=grid.device) / count
        none, all_ = torch.zeros_like(along), torch.ones_like(along)
        around = [
            torch.stack(pair, -1) for pair in ((along, none), (all_, along), (1 - along, all_), (none, 1 - along))
        ]
        low, high = grid.min(0).values, grid.max(0).values
        return low + torch.cat(around) * (high - low)

    def forward(self, images: Tensor) -> Tensor:
        """Features, `b d`."""
        layers, grid, places = self.encoded(images)
        query = self.mask.expand(len(images), len(grid), -1)
        predicted = self.decoder(query, grid, _normed(layers[-1]), places)
        return _normed(predicted).mean(1)

    def tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        """Tokens of the last blocks, each `b n d`, registers first; see `TokenBackbone`."""
        found = self.encoded(images)[0][-layers:]
        return [_normed(each) for each in found] if normed else found

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """The encoder's patches as one map, `last`, `b c h w`, normed."""
        patches = _normed(self.encoded(images)[0][-1])[:, self.num_prefix_tokens :]
        return {"last": patches.transpose(1, 2).unflatten(2, (images.shape[-2] // self.patch_side, -1))}


def _normed(x: Tensor) -> Tensor:
    """The last norm, which has no weights."""
    return F.rms_norm(x, x.shape[-1:], eps=EPS)


def build(arguments: Arguments) -> CAPI:
    """The network."""
    return CAPI(arguments)


def propose(shapes: Shapes) -> list[dict[str, Any]]:
    """Read all sizes off the shapes."""
    depth = len({match[1] for name in shapes if (match := BLOCK.fullmatch(name))})
    freqs, mlp = shapes.get("decoder.attn.rope.freqs", ()), shapes.get("decoder.mlp.fc1.weight", ())
    registers, patch = shapes.get("registers", ()), shapes.get("patch_embed.weight", ())
    if not depth or (len(freqs), len(mlp), len(registers), len(patch)) != (2, 2, 3, 4) or not freqs[1]:
        return []
    sizes = {"dim": mlp[1], "hidden": mlp[0], "heads": mlp[1] // freqs[1]}
    return [{**sizes, "patch_size": patch[-1], "depth": depth, "registers": registers[1]}]


def assumptions(arguments: Mapping[str, Any]) -> list[str]:
    """What names and shapes cannot say about such a network."""
    return ["features are the mean of what the decoder's first layer predicts, as CAPI's code takes them"]


def describe(arguments: Mapping[str, Any]) -> str:
    """`capi-1024d24-p14`."""
    full = Arguments.model_validate(dict(arguments))
    return f"capi-{full.dim}d{full.depth}-p{full.patch_size}"
