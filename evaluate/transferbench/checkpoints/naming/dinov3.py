"""How DINOv3's vision transformers are spelled (docs/checkpoints.md#naming). Canonical names are timm's."""

import re
from typing import Any

import torch

from transferbench.checkpoints.naming import Naming, Row, Shapes, Weights

BIAS = re.compile(r"(blocks\.\d+\.attn\.)qkv\.bias")
MASK = ".qkv.bias_mask"
PERIODS = "rope_embed.periods"
SIZES = ("small", "base", "large", "small_plus", "huge_plus")
TEMPLATES = (
    *(f"vit_{size}_patch16_dinov3{bias}" for bias in ("_qkvb", "") for size in SIZES),
    "vit_tiny_patch16_dinov3_qkvb",
    "vit_7b_patch16_dinov3",
)

ORIGINAL: tuple[Row, ...] = (
    ("storage_tokens", "reg_token"),
    ("blocks.{n}.ls{k}.gamma", "blocks.{n}.gamma_{k}"),
    ("blocks.{n}.mlp.w1.", "blocks.{n}.mlp.fc1_g."),
    ("blocks.{n}.mlp.w2.", "blocks.{n}.mlp.fc1_x."),
    ("blocks.{n}.mlp.w3.", "blocks.{n}.mlp.fc2."),
)
ATTENTION = "layer.{n}.attention."
SAVED: tuple[Row, ...] = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.register_tokens", "reg_token"),
    ("embeddings.patch_embeddings.", "patch_embed.proj."),
    (tuple(f"{ATTENTION}{each}_proj.weight" for each in "qkv"), "blocks.{n}.attn.qkv.weight"),  # pyright: ignore
    (ATTENTION + "q_proj.bias", "blocks.{n}.attn.q_bias"),
    (ATTENTION + "v_proj.bias", "blocks.{n}.attn.v_bias"),
    (ATTENTION + "o_proj.", "blocks.{n}.attn.proj."),
    ("layer.{n}.layer_scale{k}.lambda1", "blocks.{n}.gamma_{k}"),
    ("layer.{n}.norm{k}.", "blocks.{n}.norm{k}."),
    ("layer.{n}.mlp.down_proj.", "blocks.{n}.mlp.fc2."),
)
GELU: tuple[Row, ...] = (("layer.{n}.mlp.up_proj.", "blocks.{n}.mlp.fc1."),)
GATED: tuple[Row, ...] = (
    ("layer.{n}.mlp.gate_proj.", "blocks.{n}.mlp.fc1_g."),
    ("layer.{n}.mlp.up_proj.", "blocks.{n}.mlp.fc1_x."),
)


def _in_memory(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows as transformers calls its modules, which its files do not."""

    def put(source: str) -> str:
        return "model." + source if source.startswith("layer.") else source

    return tuple((tuple(map(put, s)) if isinstance(s, tuple) else put(s), target) for s, target in rows)  # pyright: ignore


def _split(weights: Weights) -> Weights:
    """Biases in two, that of the keys left out where it is zero behind its mask; periods are looked at elsewhere.

    A bias of the keys that is not zero stays and fits nothing: rotated keys make it count.
    """
    split: Weights = {}
    masks = {
        n: m for n, m in weights.items() if n.endswith(MASK) and _shape(m) == _shape(weights.get(n[: -len("_mask")]))
    }
    for name, tensor in weights.items():
        match = BIAS.fullmatch(name)
        if name in masks or (name == PERIODS and _heads(weights)):
            continue
        if match and tensor.ndim == 1 and not len(tensor) % 3:
            mask = masks.get(name + "_mask")
            query, key, value = (tensor if mask is None else tensor * mask.to(tensor.dtype)).chunk(3)
            if key.is_meta or not torch.any(key != 0):
                split |= {match[1] + "q_bias": query, match[1] + "v_bias": value}
                continue
        split[name] = tensor
    return split


def _heads(named: Weights | Shapes) -> int:
    """Attention heads, of which each has four channels a period; 0 where that does not come out."""
    periods, token = (_shape(named.get(name)) for name in (PERIODS, "cls_token"))
    if len(periods) != 1 or len(token) != 3 or not periods[0] or token[2] % (4 * periods[0]):
        return 0
    return token[2] // (4 * periods[0])


def _shape(value: Any) -> tuple[int, ...]:
    return () if value is None else tuple(getattr(value, "shape", value))


def original(shapes: Shapes) -> dict[str, Any]:
    """Heads, which the periods tell."""
    heads = _heads(shapes)
    return {"num_heads": heads} if heads else {}


def saved(shapes: Shapes) -> dict[str, Any]:
    """Registers: transformers writes a tensor of none where there are none."""
    registers = shapes.get("embeddings.register_tokens", ())
    return {"num_reg_tokens": 0} if len(registers) == 3 and not registers[1] else {}


def _without_empty(weights: Weights) -> Weights:
    width = _shape(weights.get("cls_token"))[2:]
    return {name: tensor for name, tensor in weights.items() if (name, tensor.shape) != ("reg_token", (1, 0, *width))}


def _transformers(name: str, rows: tuple[Row, ...], anchor: str) -> Naming:
    return Naming(
        name,
        (rf"{anchor}\d+\.attention\.q_proj\.weight", r"embeddings\.register_tokens"),
        rows,
        _without_empty,
        library="timm",
        templates=TEMPLATES,
        pooling="token",
        tells=saved,
        needs=("embeddings.register_tokens",),
    )


NAMINGS = (
    Naming(
        "DINOv3 ViT",
        (r"rope_embed\.periods", "storage_tokens"),
        ORIGINAL,
        _split,
        unused=(r"local_cls_norm\.\w+", r"projectors\..+"),
        library="timm",
        templates=TEMPLATES,
        pooling="token",
        tells=original,
        needs=(PERIODS,),
    ),
    _transformers("transformers DINOv3 ViT", SAVED + GELU, r"layer\."),
    _transformers("transformers DINOv3 ViT with SwiGLU", SAVED + GATED, r"layer\."),
    _transformers("transformers DINOv3 ViT in memory", _in_memory(SAVED + GELU), r"model\.layer\."),
    _transformers("transformers DINOv3 ViT with SwiGLU in memory", _in_memory(SAVED + GATED), r"model\.layer\."),
)
