"""SimSiam (facebookresearch/simsiam): one encoder with its projector in `fc`, and a predictor."""

from transferbench.checkpoints.formats import Encoder, Layout

LAYOUTS = (
    Layout(
        (Encoder("online", "encoder."),),
        evidence=(r"encoder\.fc\.\d\.weight", r"predictor\.\d\.weight"),
        beside=("state_dict",),
        method="simsiam",
    ),
)
