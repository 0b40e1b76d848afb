"""How AIMv2's image encoders are spelled (docs/checkpoints.md#naming). Canonical names are timm's."""

from transferbench.checkpoints.naming import Naming, Row

ROWS: tuple[Row, ...] = (
    ("preprocessor.patchifier.", "patch_embed."),
    ("preprocessor.pos_embed", "pos_embed"),
    ("trunk.post_trunk_norm.", "norm."),
    ("trunk.blocks.{n}.norm_{k}.", "blocks.{n}.norm{k}."),
    ("trunk.blocks.{n}.mlp.fc1.", "blocks.{n}.mlp.fc1_g."),
    ("trunk.blocks.{n}.mlp.fc3.", "blocks.{n}.mlp.fc1_x."),
    ("trunk.blocks.", "blocks."),
)
NAMINGS = (
    Naming(
        "AIMv2 ViT",
        (r"trunk\.blocks\.\d+\.mlp\.fc3\.weight", r"preprocessor\.patchifier\.proj\.weight"),
        ROWS,
        library="timm",
        templates=tuple(f"aimv2_{size}_patch14_224" for size in ("large", "huge", "1b", "3b")),
        channels_of_a_head=128,
    ),
)
