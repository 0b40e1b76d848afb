"""How sources spell vision transformers (spec/checkpoints.md 2b). Canonical names are timm's."""

import re

from transferbench.checkpoints.naming import Naming, Row, Weights

CHUNK = re.compile(r"blocks\.\d+\.(\d+)\.")
SCALE = re.compile(r"(blocks\.\d+\.)gamma_([12])")


def _with_registers(weights: Weights) -> Weights:
    """DINOv2 adds positions before it puts registers in: the class token's own is added to it, once and for all."""
    if not {"cls_token", "pos_embed", "reg_token"} <= weights.keys():
        return weights
    adapted, positions = dict(weights), weights["pos_embed"]
    if positions.ndim == 3 and positions.shape[1] > 1 and weights["cls_token"].shape == positions[:, :1].shape:
        adapted["cls_token"] = weights["cls_token"] + positions[:, :1]
        adapted["pos_embed"] = positions[:, 1:]
    return adapted


def _plain(weights: Weights) -> Weights:
    """Blocks in one list (DINOv2 keeps them in chunks, with numbers that go on), layer scales in timm's names."""
    is_dinov2 = "register_tokens" in weights
    renamed = {CHUNK.sub(r"blocks.\1.", name): tensor for name, tensor in weights.items()}
    renamed = {SCALE.sub(r"\1ls\2.gamma", name): tensor for name, tensor in renamed.items()}
    if not is_dinov2:
        return renamed
    return _with_registers({"reg_token" if n == "register_tokens" else n: t for n, t in renamed.items()})


TIMM: tuple[Row, ...] = (
    ("blocks.{n}.mlp.w12.", "blocks.{n}.mlp.fc1."),
    ("blocks.{n}.mlp.w3.", "blocks.{n}.mlp.fc2."),
    ("blocks.{c}.{n}.mlp.w12.", "blocks.{n}.mlp.fc1."),
    ("blocks.{c}.{n}.mlp.w3.", "blocks.{n}.mlp.fc2."),
)
TORCHVISION: tuple[Row, ...] = (
    ("class_token", "cls_token"),
    ("conv_proj.", "patch_embed.proj."),
    ("encoder.pos_embedding", "pos_embed"),
    ("encoder.ln.", "norm."),
    ("encoder.layers.encoder_layer_{n}.ln_{k}.", "blocks.{n}.norm{k}."),
    ("encoder.layers.encoder_layer_{n}.self_attention.in_proj_", "blocks.{n}.attn.qkv."),
    ("encoder.layers.encoder_layer_{n}.self_attention.out_proj.", "blocks.{n}.attn.proj."),
    ("encoder.layers.encoder_layer_{n}.mlp.0.", "blocks.{n}.mlp.fc1."),
    ("encoder.layers.encoder_layer_{n}.mlp.3.", "blocks.{n}.mlp.fc2."),
    ("encoder.layers.encoder_layer_{n}.mlp.linear_{k}.", "blocks.{n}.mlp.fc{k}."),
)
ATTENTION = "encoder.layer.{n}.attention.attention."
HUGGINGFACE: tuple[Row, ...] = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ((ATTENTION + "query.", ATTENTION + "key.", ATTENTION + "value."), "blocks.{n}.attn.qkv."),
    ("encoder.layer.{n}.attention.output.dense.", "blocks.{n}.attn.proj."),
    ("layernorm.", "norm."),
)
HF_VIT: tuple[Row, ...] = (
    ("encoder.layer.{n}.layernorm_before.", "blocks.{n}.norm1."),
    ("encoder.layer.{n}.layernorm_after.", "blocks.{n}.norm2."),
    ("encoder.layer.{n}.intermediate.dense.", "blocks.{n}.mlp.fc1."),
    ("encoder.layer.{n}.output.dense.", "blocks.{n}.mlp.fc2."),
)
HF_DINOV2: tuple[Row, ...] = (
    ("embeddings.register_tokens", "reg_token"),
    ("encoder.layer.{n}.norm{k}.", "blocks.{n}.norm{k}."),
    ("encoder.layer.{n}.layer_scale{k}.lambda1", "blocks.{n}.ls{k}.gamma"),
)
HF_MLP: tuple[Row, ...] = (("encoder.layer.{n}.mlp.fc{k}.", "blocks.{n}.mlp.fc{k}."),)
HF_SWIGLU: tuple[Row, ...] = (
    ("encoder.layer.{n}.mlp.weights_in.", "blocks.{n}.mlp.fc1."),
    ("encoder.layer.{n}.mlp.weights_out.", "blocks.{n}.mlp.fc2."),
)
HF_ANCHORS = (
    r"encoder\.layer\.[01]\.attention\.attention\.(?:query|value)\.weight",
    r"embeddings\.patch_embeddings\.projection\.weight",
)
POOLER = (r"pooler\.dense\.\w+",)
MMPRETRAIN: tuple[Row, ...] = (
    ("patch_embed.projection.", "patch_embed.proj."),
    ("layers.{n}.ln{k}.", "blocks.{n}.norm{k}."),
    ("layers.{n}.attn.", "blocks.{n}.attn."),
    ("layers.{n}.ffn.layers.0.0.", "blocks.{n}.mlp.fc1."),
    ("layers.{n}.ffn.layers.1.", "blocks.{n}.mlp.fc2."),
    ("ln1.", "norm."),
)

NAMINGS = (
    Naming(
        "timm ViT",
        (r"blocks\.[01]\.attn\.qkv\.weight", r"blocks\.0\.[01]\.attn\.qkv\.weight", r"blocks\.[01]\.norm2\.weight"),
        TIMM,
        _plain,
    ),
    Naming("torchvision ViT", (r"encoder\.layers\.encoder_layer_[01]\.ln_[12]\.weight",), TORCHVISION),
    Naming("transformers ViT", HF_ANCHORS, HUGGINGFACE + HF_VIT, unused=POOLER),
    Naming("transformers DINOv2", HF_ANCHORS, HUGGINGFACE + HF_DINOV2 + HF_MLP, _with_registers, POOLER),
    Naming("transformers DINOv2 with SwiGLU", HF_ANCHORS, HUGGINGFACE + HF_DINOV2 + HF_SWIGLU, _with_registers, POOLER),
    Naming("mmpretrain ViT", (r"layers\.[01]\.ln[12]\.weight",), MMPRETRAIN),
)
