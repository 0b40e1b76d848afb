"""PixPro (zdaxie/PixPro): encoder and key encoder, each with a projector of its own; `base.` in old releases."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

LAYOUTS = tuple(
    Layout(
        (EncoderSpec("online", name), EncoderSpec("ema", f"{name[:-1]}_k.")),
        evidence=(rf"{name[:-1]}\.[\w.]+", r"projector\.linear1\.weight"),
        beside=("model",),
        method="pixpro",
    )
    for name in ("encoder.", "base.")
)
