"""ISD (UMBCvision/ISD): query and key network parallel inside the module, a predictor, a queue."""

from transferbench.checkpoints.formats import Encoder, Layout

LAYOUTS = (
    Layout(
        (Encoder("online", "encoder_q."), Encoder("ema", "encoder_k.")),
        evidence=(r"encoder_q\.[\w.]+", r"encoder_k\.[\w.]+", r"queue", r"predict_q\.[\w.]+"),
        method="isd",
    ),
)
