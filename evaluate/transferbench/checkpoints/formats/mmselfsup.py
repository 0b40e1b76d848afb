"""mmselfsup, mmpretrain and OpenSelfSup (open-mmlab): `backbone.`, with the moving average in a wrapper of its own."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

COPIES = ("encoder_k.", "target_net.", "momentum_encoder.", "teacher.")
ENCODERS = (EncoderSpec("online", "backbone."), *(EncoderSpec("ema", prefix) for prefix in COPIES))

LAYOUTS = (
    Layout(ENCODERS, evidence=(r"backbone\.[\w.]+",), beside=("meta", "state_dict"), method="mmselfsup"),
    Layout(  # mmengine's EMA hook swaps the two when it saves: `state_dict` holds the average, and that is evaluated
        (EncoderSpec("ema", "backbone.", ("state_dict",)), EncoderSpec("online", "backbone.", ("ema_state_dict",))),
        evidence=(r"backbone\.[\w.]+",),
        beside=("meta", "state_dict", "ema_state_dict"),
        method="mmselfsup",
    ),
    Layout(beside=("state_dict", "author"), method="mmselfsup"),
)
