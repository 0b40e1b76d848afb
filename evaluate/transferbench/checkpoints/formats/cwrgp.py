"""CW-RGP (winci-ai/CW-RGP): W-MSE's names in a `state_dict`; on ImageNet the whole is parallel, not the model alone."""

from transferbench.checkpoints.formats import EncoderSpec, Layout
from transferbench.checkpoints.formats.wmse import preprocess, settle

LAYOUTS = (
    Layout(
        (
            EncoderSpec("online", "model.module.", ("state_dict",)),
            EncoderSpec("online", "model.", ("state_dict",)),
            EncoderSpec("ema", "model_t.", ("state_dict",)),
        ),
        evidence=(r"model\.[\w.]+", r"head\.\d\.weight"),
        beside=("arch", "state_dict"),
        settle=settle,
        preprocess=preprocess,
        method="cwrgp",
    ),
)
