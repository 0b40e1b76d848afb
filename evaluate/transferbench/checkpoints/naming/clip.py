"""How CLIP's image encoders are spelled (docs/checkpoints.md#naming). Canonical names are timm's."""

from transferbench.checkpoints.naming import Naming, Row, Weights

BLOCK = "transformer.resblocks.{n}."
ROWS: tuple[Row, ...] = (
    ("conv1.", "patch_embed.proj."),
    ("class_embedding", "cls_token"),
    ("positional_embedding", "pos_embed"),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    (BLOCK + "ln_{k}.", "blocks.{n}.norm{k}."),
    (BLOCK + "attn.in_proj_", "blocks.{n}.attn.qkv."),
    (BLOCK + "attn.out_proj.", "blocks.{n}.attn.proj."),
    (BLOCK + "mlp.c_fc.", "blocks.{n}.mlp.fc1."),
    (BLOCK + "mlp.c_proj.", "blocks.{n}.mlp.fc2."),
)
TEXT = (
    (r"(?:text\.)?(?:transformer\..+|token_embedding\.weight|ln_final\.\w+|positional_embedding)", "text encoder"),
    (r"(?:text\.)?(?:text_projection(?:\.\w+)?|cls_emb|attn_mask)", "text encoder"),
    (r"logit_(?:scale|bias)|input_resolution|context_length|vocab_size", "counter"),
)
"""What lies beside `visual.`: the other encoder, and numbers of the loss and of the sizes."""
SIZES = ("base_patch32", "base_patch16", "large_patch14", "huge_patch14", "gigantic_patch14")
QUICK = "_quickgelu_"


def with_axes(weights: Weights) -> Weights:
    """Class token and positions with the axes that timm's have."""
    changed = dict(weights)
    if (token := weights.get("cls_token")) is not None:
        changed["cls_token"] = token[None, None]
    if (position := weights.get("pos_embed")) is not None:
        changed["pos_embed"] = position[None]
    return changed


NAMINGS = (
    Naming(
        "CLIP ViT",
        ("class_embedding", r"ln_pre\.weight"),
        ROWS,
        with_axes,
        library="timm",
        templates=tuple(f"vit_{size}_clip_{way}224" for size in SIZES for way in ("", "quickgelu_")),
        beside=TEXT,
    ),
)
