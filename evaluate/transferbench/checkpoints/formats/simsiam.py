"""SimSiam (facebookresearch/simsiam): one encoder with its projector in `fc`, and a predictor."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "encoder."),),
        evidence=(r"encoder\.fc\.\d\.weight", r"predictor\.\d\.weight"),
        beside=("state_dict",),
        method="simsiam",
    ),
)
