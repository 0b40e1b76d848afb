"""How CAPI is spelled (docs/checkpoints.md#naming)."""

from transferbench.checkpoints.naming import Naming, Row


def _block(source: str, target: str) -> tuple[Row, ...]:
    return (
        (source + "residual{k}.norm.", target + "norm{k}."),
        (source + "residual1.fn.", target + "attn."),
        (source + "residual2.fn.", target + "mlp."),
    )


ROWS: tuple[Row, ...] = (
    ("mask_token", "mask"),
    *_block("encoder.blocks.{n}.", "encoder.{n}."),
    *_block("decoder.blocks.0.", "decoder."),
)

NAMINGS = (
    Naming(
        "CAPI",
        (r"(?:en|de)coder\.blocks\.\d+\.residual1\.fn\.rope\.freqs",),
        ROWS,
        unused=(r"decoder\.blocks\.[1-9]\d*\..+",),
        own=("mask_token",),
    ),
)
