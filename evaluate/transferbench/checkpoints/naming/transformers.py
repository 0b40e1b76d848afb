"""How sources spell vision transformers (docs/checkpoints.md#naming). Canonical names are timm's."""

import re

from transferbench.checkpoints.naming import Naming, Row, Weights

SCALE = re.compile(r"(blocks\.\d+\.)gamma_([12])")


def _with_registers(weights: Weights) -> Weights:
    """DINOv2 adds positions before it puts registers in: the class token's own is added to it, once and for all."""
    if not {"pos_embed", "reg_token"} <= weights.keys() or weights["pos_embed"].ndim != 3:
        return weights
    own, positions = weights["pos_embed"][:, :1], weights["pos_embed"][:, 1:]
    token = weights.get("cls_token")
    added = {"cls_token": token + own} if token is not None and token.shape == own.shape else {}
    return {**weights, "pos_embed": positions, **added}


def _scaled(weights: Weights) -> Weights:
    """iBOT's layer scales in timm's names."""
    return {SCALE.sub(r"\1ls\2.gamma", name): tensor for name, tensor in weights.items()}


DINOV2: tuple[Row, ...] = (("register_tokens", "reg_token"),)
SWIGLU: tuple[Row, ...] = (
    ("blocks.{n}.mlp.w12.", "blocks.{n}.mlp.fc1."),
    ("blocks.{n}.mlp.w3.", "blocks.{n}.mlp.fc2."),
)
CHUNKED: tuple[Row, ...] = (("blocks.{c}.{n}.", "blocks.{n}."),)
CHUNKED_SWIGLU: tuple[Row, ...] = (
    ("blocks.{c}.{n}.mlp.w12.", "blocks.{n}.mlp.fc1."),
    ("blocks.{c}.{n}.mlp.w3.", "blocks.{n}.mlp.fc2."),
)
"""DINOv2 trains with its blocks in chunks, whose numbers go on from one to the next."""
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
    r"encoder\.layer\.\d+\.attention\.attention\.(?:query|value)\.weight",
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

BLOCKS = (r"blocks\.\d+\.attn\.qkv\.weight", r"blocks\.\d+\.norm2\.weight")
CHUNKS = (r"blocks\.\d+\.\d+\.attn\.qkv\.weight", r"blocks\.\d+\.\d+\.norm2\.weight")

NAMINGS = (
    Naming("timm ViT", BLOCKS, adapt=_scaled),
    Naming("DINOv2 ViT", BLOCKS, DINOV2, _with_registers),
    Naming("DINOv2 ViT with SwiGLU", BLOCKS, DINOV2 + SWIGLU, _with_registers),
    Naming("DINOv2 ViT in chunks", CHUNKS, DINOV2 + CHUNKED, _with_registers),
    Naming("DINOv2 ViT with SwiGLU in chunks", CHUNKS, DINOV2 + CHUNKED_SWIGLU + CHUNKED, _with_registers),
    Naming("torchvision ViT", (r"encoder\.layers\.encoder_layer_\d+\.ln_[12]\.weight",), TORCHVISION),
    Naming("transformers ViT", HF_ANCHORS, HUGGINGFACE + HF_VIT, unused=POOLER),
    Naming("transformers DINOv2", HF_ANCHORS, HUGGINGFACE + HF_DINOV2 + HF_MLP, _with_registers, POOLER),
    Naming("transformers DINOv2 with SwiGLU", HF_ANCHORS, HUGGINGFACE + HF_DINOV2 + HF_SWIGLU, _with_registers, POOLER),
    Naming("mmpretrain ViT", (r"layers\.\d+\.ln[12]\.weight",), MMPRETRAIN),
)
