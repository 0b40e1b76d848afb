"""DenseCL (WXinlong/DenseCL): the online network under two names, a key network, two queues."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "backbone."), EncoderSpec("alias", "encoder_q.0."), EncoderSpec("ema", "encoder_k.0.")),
        evidence=(r"backbone\.[\w.]+", r"encoder_q\.0\.[\w.]+", r"encoder_k\.0\.[\w.]+", r"queue2"),
        beside=("state_dict",),
        method="densecl",
    ),
)
