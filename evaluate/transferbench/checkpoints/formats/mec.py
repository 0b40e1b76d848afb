"""MEC (xinliu20/MEC): SimSiam's names with a momentum teacher; the online network is evaluated."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "encoder."), EncoderSpec("ema", "teacher.")),
        evidence=(r"encoder\.fc\.\d\.weight", r"predictor\.\d\.weight", r"teacher\.[\w.]+"),
        beside=("state_dict",),
        method="mec",
    ),
)
