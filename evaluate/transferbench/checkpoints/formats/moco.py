"""MoCo v1 and v2 (facebookresearch/moco) and who builds on it: query and key network, each with its head, a queue.

AdCo and PCL keep the names; ISD puts `module.` inside; DenseCL's and mmpretrain's own files are another layout's.
"""

from transferbench.checkpoints.formats import EncoderSpec, Layout

ENCODERS = (EncoderSpec("online", "encoder_q."), EncoderSpec("ema", "encoder_k."))

LAYOUTS = (
    Layout(ENCODERS, evidence=(r"encoder_q\.[\w.]+", r"encoder_k\.[\w.]+", r"queue"), method="moco"),
    Layout(ENCODERS, evidence=(r"encoder_q\.[\w.]+", r"encoder_k\.[\w.]+")),
)
