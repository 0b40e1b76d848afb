"""How XCiTs are spelled (docs/checkpoints.md#naming). Canonical names are timm's."""

import re

from transferbench.checkpoints.naming import Naming, Row, Weights

ROWS: tuple[Row, ...] = (("pos_embeder.", "pos_embed."),)
JOINED = re.compile(r"(cls_attn_blocks\.\d+\.attn\.)qkv\.(weight|bias)")
TEMPLATES = tuple(
    f"xcit_{size}_p{patch}_224"
    for size in ("nano_12", "tiny_12", "small_12", "tiny_24", "small_24", "medium_24", "large_24")
    for patch in (16, 8)
)


def _separate(weights: Weights) -> Weights:
    """Queries, keys and values of the class token's attention apart, as timm has them."""
    separate: Weights = {}
    for name, tensor in weights.items():
        match = JOINED.fullmatch(name)
        if match and tensor.ndim and not len(tensor) % 3:
            parts = zip("qkv", tensor.chunk(3), strict=True)
            separate |= {f"{match[1]}{letter}.{match[2]}": part for letter, part in parts}
        else:
            separate[name] = tensor
    return separate


NAMINGS = (
    Naming(
        "XCiT",
        (r"pos_embeder\.token_projection\.weight", r"cls_attn_blocks\.\d+\.attn\.qkv\.weight"),
        ROWS,
        _separate,
        library="timm",
        templates=TEMPLATES,
        is_sized=False,
    ),
)
