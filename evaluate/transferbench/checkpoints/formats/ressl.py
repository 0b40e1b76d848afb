"""ReSSL (KyleZheng1997/ReSSL): MoCo's pair of networks, each with `net` and `head`, and a queue."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "encoder_q."), EncoderSpec("ema", "encoder_k.")),
        evidence=(r"encoder_q\.net\.[\w.]+", r"encoder_q\.head\.[\w.]+", r"encoder_k\.[\w.]+", r"queue"),
        method="ressl",
    ),
)
