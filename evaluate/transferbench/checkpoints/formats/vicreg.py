"""VICReg (facebookresearch/vicreg): backbone and projector; once evaluated, a Sequential of backbone and head."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "backbone."),),
        evidence=(r"backbone\.[\w.]+", r"projector\.\d\.weight"),
        beside=("model",),
        method="vicreg",
    ),
    Layout((EncoderSpec("backbone", "0."),), evidence=(r"0\.[\w.]+", r"1\.weight"), beside=("model",), method="vicreg"),
)
