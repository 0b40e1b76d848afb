"""I-JEPA (facebookresearch/ijepa): encoders without class token and a predictor; the target encoder is evaluated."""

from transferbench.checkpoints.formats import Layout
from transferbench.checkpoints.formats.msn import ENCODERS

LAYOUTS = (
    Layout(
        ENCODERS,
        beside=("encoder", "target_encoder", "predictor"),
        evidence=(r"blocks\.0\.[\w.]+",),
        method="ijepa",
    ),
)
