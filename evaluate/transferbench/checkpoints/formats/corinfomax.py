"""CorInfoMax (serdarozsoy/corinfomax-ssl): backbone and projector in a `model_state_dict`."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "backbone."),),
        evidence=(r"backbone\.[\w.]+", r"projector\.\d\.weight"),
        beside=("model_state_dict",),
        method="corinfomax",
    ),
)
