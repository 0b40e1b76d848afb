"""ISD (UMBCvision/ISD): query and key network parallel inside the module, a predictor, a queue."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "encoder_q."), EncoderSpec("ema", "encoder_k.")),
        evidence=(r"encoder_q\.[\w.]+", r"encoder_k\.[\w.]+", r"queue", r"predict_q\.[\w.]+"),
        method="isd",
    ),
)
