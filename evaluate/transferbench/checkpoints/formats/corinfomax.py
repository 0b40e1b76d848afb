"""CorInfoMax (serdarozsoy/corinfomax-ssl): backbone and projector in a `model_state_dict`."""

from transferbench.checkpoints.formats import Encoder, Layout

LAYOUTS = (
    Layout(
        (Encoder("online", "backbone."),),
        evidence=(r"backbone\.[\w.]+", r"projector\.\d\.weight"),
        beside=("model_state_dict",),
        method="corinfomax",
    ),
)
