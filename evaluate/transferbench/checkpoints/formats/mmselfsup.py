"""mmselfsup, mmpretrain and OpenSelfSup (open-mmlab): `backbone.`, with the moving average in a wrapper of its own."""

from transferbench.checkpoints.formats import Encoder, Layout

COPIES = ("encoder_k.", "target_net.", "momentum_encoder.", "teacher.")
ENCODERS = (Encoder("online", "backbone."), *(Encoder("ema", prefix) for prefix in COPIES))

LAYOUTS = (
    Layout(ENCODERS, evidence=(r"backbone\.[\w.]+",), beside=("meta", "state_dict"), method="mmselfsup"),
    Layout(
        (Encoder("online", "backbone.", ("ema_state_dict",)), Encoder("ema", "backbone.", ("state_dict",))),
        evidence=(r"backbone\.[\w.]+",),
        beside=("meta", "state_dict", "ema_state_dict"),
        method="mmselfsup",
    ),
    Layout(beside=("state_dict", "author"), method="mmselfsup"),
)
