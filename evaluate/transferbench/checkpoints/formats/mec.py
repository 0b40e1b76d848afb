"""MEC (xinliu20/MEC): SimSiam's names with a momentum teacher; the online network is evaluated."""

from transferbench.checkpoints.formats import Encoder, Layout

LAYOUTS = (
    Layout(
        (Encoder("online", "encoder."), Encoder("ema", "teacher.")),
        evidence=(r"encoder\.fc\.\d\.weight", r"predictor\.\d\.weight", r"teacher\.[\w.]+"),
        beside=("state_dict",),
        method="mec",
    ),
)
