"""iBOT (bytedance/ibot): DINO's names with a head for patches; the teacher is evaluated."""

from transferbench.checkpoints.formats import Layout
from transferbench.checkpoints.formats.dino import ENCODERS, HEAD, settle

LAYOUTS = (
    Layout(
        ENCODERS,
        evidence=(r"backbone\.[\w.]+", HEAD),
        beside=("student", "teacher", "ibot_loss"),
        settle=settle,
        method="ibot",
    ),
)
