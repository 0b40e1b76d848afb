"""How sources spell Swin transformers. Canonical names are timm's since 0.9."""

from transferbench.checkpoints.naming import Naming, Row

ROWS: tuple[Row, ...] = (("layers.{s-1}.downsample.", "layers.{s}.downsample."),)
"""Until timm 0.9, and in Microsoft's code, a stage ends with its down-sampling; since then one begins with it."""
ANCHORS = (r"layers\.[01]\.blocks\.0\.attn\.qkv\.weight", r"layers\.[01]\.blocks\.1\.norm1\.weight")
MASKS = (r"layers\.\d+\.blocks\.\d+\.(attn\.relative_position_index|attn_mask)",)
"""Computed from the sizes, stored by older code."""

NAMINGS = (
    Naming("Swin, down-sampling at the end of a stage", ANCHORS, ROWS, unused=MASKS),
    Naming("timm Swin", ANCHORS, unused=MASKS),
)
