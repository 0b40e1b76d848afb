"""How big_vision (JAX) spells SigLIP's image encoders (docs/checkpoints.md#naming). Canonical names are timm's."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from transferbench.checkpoints.naming import Naming, Row, Shapes, Weights

BLOCK = "Transformer.encoderblock_{n}."
ATTENTION, POOL = BLOCK + "MultiHeadDotProductAttention_0.", "MAPHead_0.MultiHeadDotProductAttention_0."
ROWS: tuple[Row, ...] = (
    ("embedding.", "patch_embed.proj."),
    ("pos_embedding", "pos_embed"),
    ((ATTENTION + "query.", ATTENTION + "key.", ATTENTION + "value."), "blocks.{n}.attn.qkv."),
    (ATTENTION + "out.", "blocks.{n}.attn.proj."),
    (BLOCK + "LayerNorm_{k-1}.", "blocks.{n}.norm{k}."),
    (BLOCK + "MlpBlock_0.Dense_{k-1}.", "blocks.{n}.mlp.fc{k}."),
    ("Transformer.encoder_norm.", "norm."),
    ("MAPHead_0.probe", "attn_pool.latent"),
    (POOL + "query.", "attn_pool.q."),
    (POOL + "key.", "attn_pool.k."),
    (POOL + "value.", "attn_pool.v."),
    (POOL + "out.", "attn_pool.proj."),
    ("MAPHead_0.LayerNorm_0.", "attn_pool.norm."),
    ("MAPHead_0.MlpBlock_0.Dense_{k-1}.", "attn_pool.mlp.fc{k}."),
)
KERNELS: tuple[tuple[re.Pattern[str], int, Callable[[Tensor], Tensor]], ...] = (
    (re.compile(r"patch_embed\.proj"), 4, lambda kernel: kernel.permute(3, 2, 0, 1)),
    (re.compile(r".+\.attn\.qkv"), 3, lambda kernel: torch.cat([part.flatten(1).T for part in kernel.chunk(3)])),
    (re.compile(r".+\.attn\.proj|attn_pool\.proj"), 3, lambda kernel: kernel.flatten(0, 1).T),
    (re.compile(r"attn_pool\.[qkv]"), 3, lambda kernel: kernel.flatten(1).T),
    (re.compile(r".+\.mlp\.fc\d"), 2, lambda kernel: kernel.T),
)
"""Layers by name, the axes of their kernels in JAX (inputs first), and the same as torch has it."""
HEADED = re.compile(r".+\.attn\.(?:qkv|proj)\.bias|attn_pool\.[qkv]\.bias")
TEMPLATES = (
    *("vit_base_patch16_siglip_224", "vit_base_patch32_siglip_256", "vit_large_patch16_siglip_256"),
    *("vit_so400m_patch14_siglip_224", "vit_so400m_patch16_siglip_256", "vit_giantopt_patch16_siglip_256"),
)


def _as_torch(weights: Weights) -> Weights:
    """Kernels as torch's, biases of heads as one vector; keys and values of the pool in one tensor, as timm has it."""
    changed = dict(_converted(name, tensor) for name, tensor in weights.items())
    for last in ("weight", "bias"):
        key, value = (changed.get(f"attn_pool.{letter}.{last}") for letter in "kv")
        if key is not None and value is not None and key.shape == value.shape:
            changed[f"attn_pool.kv.{last}"] = torch.cat([key, value])
            del changed[f"attn_pool.k.{last}"], changed[f"attn_pool.v.{last}"]
    return changed


def _converted(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    base, _, last = name.rpartition(".")
    if last == "kernel":
        for pattern, axes, converted in KERNELS:
            if pattern.fullmatch(base) and tensor.ndim == axes:
                return f"{base}.weight", converted(tensor)
    if last == "scale":
        return f"{base}.weight", tensor
    return name, tensor.flatten() if HEADED.fullmatch(name) and tensor.ndim == 2 else tensor


def told(shapes: Shapes) -> dict[str, Any]:
    """Heads, which are an axis of the kernels; flax's GELU is the approximation by a tanh."""
    kernel = shapes.get("MAPHead_0.MultiHeadDotProductAttention_0.query.kernel", ())
    return {"act_layer": "gelu_tanh", **({"num_heads": kernel[1]} if len(kernel) == 3 else {})}


NAMINGS = (
    Naming(
        "big_vision ViT",
        (r"MAPHead_0\.probe",),
        ROWS,
        _as_torch,
        library="timm",
        templates=TEMPLATES,
        tells=told,
        beside=((r"txt\..+", "text encoder"), ("[tb]", "temperature of the contrastive loss")),
    ),
)
