"""PyContrast (HobbitLong/PyContrast): InsDis, PIRL, MoCo, InfoMin; CMC's pair of half networks is refused."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "encoder.", ("model",)), EncoderSpec("ema", "encoder.", ("model_ema",))),
        evidence=(r"encoder\.[\w.]+", r"head\.\d\.weight"),
        beside=("model",),
        method="pycontrast",
    ),
    Layout(
        evidence=(r"encoder1\.conv1\.weight", r"encoder2\.conv1\.weight"),
        beside=("model",),
        refusal="it is CMC: two networks of half the width, for one and for two channels of the YDbDr color space",
    ),
)
