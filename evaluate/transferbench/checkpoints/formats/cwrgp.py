"""CW-RGP (winci-ai/CW-RGP): W-MSE's names in a `state_dict`; on ImageNet the whole is parallel, not the model alone."""

from transferbench.checkpoints.formats import Encoder, Layout
from transferbench.checkpoints.formats.wmse import preprocess, settle

LAYOUTS = (
    Layout(
        (
            Encoder("online", "model.module.", ("state_dict",)),
            Encoder("online", "model.", ("state_dict",)),
            Encoder("ema", "model_t.", ("state_dict",)),
        ),
        evidence=(r"model\.[\w.]+", r"head\.\d\.weight"),
        beside=("arch", "state_dict"),
        settle=settle,
        preprocess=preprocess,
        method="cwrgp",
    ),
)
