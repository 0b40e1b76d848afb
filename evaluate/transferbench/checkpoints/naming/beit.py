"""How BEiT and EVA-02 are spelled (docs/checkpoints.md#naming). Canonical names are timm's."""

from typing import Any

from transferbench.checkpoints.naming import Naming, Row, Shapes, Weights

SHARED = "rel_pos_bias.relative_position_bias_table"
INDEX = (r"(?:.+\.)?relative_position_index",)
ROTARY = (r"(?:.+\.)?rope\.freqs_(?:cos|sin)",)
HEAD = ((r"lm_head\.\w+", "decoder"),)
EVA: tuple[Row, ...] = (
    ("blocks.{n}.mlp.w12.", "blocks.{n}.mlp.fc1."),
    ("blocks.{n}.mlp.w1.", "blocks.{n}.mlp.fc1_g."),
    ("blocks.{n}.mlp.w2.", "blocks.{n}.mlp.fc1_x."),
    ("blocks.{n}.mlp.w3.", "blocks.{n}.mlp.fc2."),
    ("blocks.{n}.mlp.ffn_ln.", "blocks.{n}.mlp.norm."),
    ("blocks.{n}.attn.inner_attn_ln.", "blocks.{n}.attn.norm."),
)


def _of_masked_modeling(shapes: Shapes) -> dict[str, Any]:
    """Files of masked image modeling norm every token; fine-tuned ones the mean of the patches."""
    return {"use_fc_norm": False} if "norm.weight" in shapes and "fc_norm.weight" not in shapes else {}


def beit(shapes: Shapes) -> dict[str, Any]:
    """Where the norm is, and which tables of relative positions there are."""
    told = _of_masked_modeling(shapes)
    if SHARED in shapes:
        told |= {"use_shared_rel_pos_bias": True}
        if not any(name.startswith("blocks.") and name.endswith("bias_table") for name in shapes):
            told["use_rel_pos_bias"] = False
    return told | ({"use_abs_pos_emb": True} if "pos_embed" in shapes else {})


def _separate(weights: Weights) -> Weights:
    """EVA-02 calls the biases of its separate projections as those of a common one are called."""
    renamed: Weights = {}
    for name, tensor in weights.items():
        base, dot, last = name.rpartition(".attn.")
        is_bias = last in {"q_bias", "v_bias"} and f"{base}.attn.q_proj.weight" in weights
        renamed[f"{base}{dot}{last[0]}_proj.bias" if is_bias else name] = tensor
    return renamed


NAMINGS = (
    Naming(
        "BEiT ViT",
        (r"blocks\.\d+\.attn\.relative_position_bias_table", r"rel_pos_bias\.relative_position_bias_table"),
        recomputed=INDEX,
        library="timm",
        templates=("beit_base_patch16_224", "beit_large_patch16_224"),
        tells=beit,
        beside=HEAD,
    ),
    Naming(
        "EVA-02 ViT",
        (r"blocks\.\d+\.mlp\.(?:w3|ffn_ln|norm|fc1_g)\.weight", r"blocks\.\d+\.attn\.(?:q_bias|rope\.freqs_cos)"),
        EVA,
        _separate,
        recomputed=ROTARY,
        library="timm",
        templates=(
            "eva02_tiny_patch14_224",
            "eva02_small_patch14_224",
            "eva02_base_patch14_224",
            "eva02_large_patch14_224",
        ),
        tells=_of_masked_modeling,
        beside=HEAD,
    ),
)
