"""How Hieras are spelled (docs/checkpoints.md#naming). Canonical names are timm's."""

from transferbench.checkpoints.naming import Naming, Row

ROWS: tuple[Row, ...] = (("norm.", "head.norm."),)
SIZES = ("tiny", "small", "base", "base_plus", "large", "huge")

NAMINGS = (
    Naming(
        "Hiera",
        (r"blocks\.\d+\.proj\.weight",),
        ROWS,
        library="timm",
        templates=tuple(f"hiera_{size}_224" for size in SIZES),
        is_sized=False,
    ),
)
