"""torchvision: plain ResNet names, its own ViT names, and the files of its training script (supervised)."""

import re

from transferbench.checkpoints.formats import ANYWHERE, CLASSIFIER, Drop, Encoder, Layout, Weights

VIT_NAMES = (
    (r"class_token", "cls_token"),
    (r"conv_proj\.", "patch_embed.proj."),
    (r"encoder\.pos_embedding", "pos_embed"),
    (r"encoder\.ln\.", "norm."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.", r"blocks.\1.norm\2."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_", r"blocks.\1.attn.qkv."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.", r"blocks.\1.mlp.fc1."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.", r"blocks.\1.mlp.fc2."),
)


def vit(weights: Weights) -> Weights:
    """torchvision's ViT names as timm's."""
    return {_canonical(name): tensor for name, tensor in weights.items()}


def _canonical(name: str) -> str:
    for pattern, replacement in VIT_NAMES:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", replacement, name)
    return name


ENCODERS = (
    Encoder("backbone", "", ANYWHERE),
    Encoder("ema", "", ("model_ema",)),
)
COUNTER = Drop("n_averaged", "counter of the average")

LAYOUTS = (
    Layout(ENCODERS, evidence=(r"layer\d\.\d+\.conv1\.weight",), heads=(CLASSIFIER, COUNTER)),
    Layout(
        ENCODERS,
        evidence=(r"encoder\.layers\.encoder_layer_\d+\.ln_1\.weight",),
        heads=(CLASSIFIER, COUNTER),
        rename=vit,
    ),
)
