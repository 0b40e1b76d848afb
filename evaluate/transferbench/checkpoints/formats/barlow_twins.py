"""Barlow Twins (facebookresearch/barlowtwins): backbone, projector and the norm of its outputs."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "backbone."),),
        evidence=(r"backbone\.[\w.]+", r"projector\.\d\.weight", r"bn\.running_mean"),
        beside=("model",),
        method="barlow_twins",
    ),
)
