"""DenseCL (WXinlong/DenseCL): the online network under two names, a key network, two queues."""

from transferbench.checkpoints.formats import Encoder, Layout

LAYOUTS = (
    Layout(
        (Encoder("online", "backbone."), Encoder("alias", "encoder_q.0."), Encoder("ema", "encoder_k.0.")),
        evidence=(r"backbone\.[\w.]+", r"encoder_q\.0\.[\w.]+", r"encoder_k\.0\.[\w.]+", r"queue2"),
        beside=("state_dict",),
        method="densecl",
    ),
)
