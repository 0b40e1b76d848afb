"""Lightning modules of sources without a layout of their own: `model.`, `encoder.`, `backbone.`, `net.`."""

from transferbench.checkpoints.formats import EncoderSpec, Layout

PREFIXES = ("backbone.", "encoder.", "model.", "net.", "online_network.", "")

LAYOUTS = (
    Layout(
        tuple(EncoderSpec("online", prefix, ("state_dict",)) for prefix in PREFIXES),
        beside=("pytorch-lightning_version",),
    ),
)
