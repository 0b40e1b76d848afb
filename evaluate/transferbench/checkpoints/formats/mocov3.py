"""MoCo v3 (facebookresearch/moco-v3): ResNets and ViTs with 12 heads, as trained, probed, or converted for DeiT."""

import math

import torch
from torch import Tensor

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled

ARCHITECTURES = {"vit_small", "vit_base", "vit_conv_small", "vit_conv_base"}
"""As its own programs call them and write into `arch`."""
BLOCK = r"blocks\.\d+\.attn\.qkv\.weight"


def settle(architecture: Architecture, file: File) -> Settled:
    """ViT-S has 12 heads here, 6 elsewhere (docs/checkpoints.md#traps)."""
    if architecture.family != "vit" or architecture.arguments["dim"] > 768:
        return Settled()
    return Settled({"heads": 12}, ("12 heads, as MoCo v3's code builds its ViT-S and ViT-B (heads=12)",))


def names_its_own(file: File) -> bool:
    """Whether `arch` is one of this repository's names."""
    return file.word("arch") in ARCHITECTURES


def has_its_positions(file: File) -> bool:
    """Whether the position embedding is the fixed one of MoCo v3, which no other source computes in this order."""
    embedding = file.state.tensors.get("pos_embed")
    side = math.isqrt(embedding.shape[1]) if embedding is not None and embedding.ndim == 3 else 0
    if embedding is None or side < 2 or side**2 + 1 != embedding.shape[1] or embedding.shape[2] % 4:
        return False
    return torch.allclose(embedding.float(), positions(side, embedding.shape[2]), atol=1e-3)


def positions(side: int, dim: int) -> Tensor:
    """Sines and cosines of a patch's row, then of its column, and zeros for the class token, `1 n d`.

    Source: docs/checkpoints.md#positions.
    """
    rates = 10000.0 ** -(torch.arange(dim // 4) / (dim // 4))
    steps = torch.arange(side)[:, None] * rates
    waves = torch.cat([steps.sin(), steps.cos()], 1)
    rows, columns = waves.repeat_interleave(side, 0), waves.repeat(side, 1)
    return torch.cat([torch.zeros(1, dim), torch.cat([rows, columns], 1)])[None]


LAYOUTS = (
    Layout(
        (EncoderSpec("online", "base_encoder."), EncoderSpec("ema", "momentum_encoder.")),
        evidence=(r"base_encoder\.[\w.]+", r"momentum_encoder\.[\w.]+"),
        settle=settle,
        method="mocov3",
    ),
    Layout(evidence=(BLOCK,), beside=("arch", "state_dict"), when=names_its_own, settle=settle, method="mocov3"),
    Layout(evidence=(BLOCK, r"pos_embed", r"cls_token"), when=has_its_positions, settle=settle, method="mocov3"),
)
