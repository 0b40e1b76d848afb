"""BYOL: weights converted from JAX (ajtejankar), and PyTorch versions with online and target network."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import ROOT, EncoderSpec, File, Layout, Settled


def without_counters(file: File) -> bool:
    """A flat zip without any step counter: torch itself has written them since before it wrote zips."""
    return (
        file.contents.container == "torch zip"
        and file.state.key == ROOT
        and not file.has(r".*num_batches_tracked")
        and file.has(r"bn1\.running_mean")
    )


def settle(architecture: Architecture, file: File) -> Settled:
    """The converted network pads as JAX does, uneven at stride 2 (docs/checkpoints.md#traps)."""
    if architecture.family != "resnet":
        return Settled()
    said = "every layer pads as JAX does, for only converted BYOL is a flat zip without step counters (same_padding)"
    return Settled({"same_padding": True}, (said,))


LAYOUTS = (
    Layout(
        (EncoderSpec("backbone", "", (ROOT,)),),
        evidence=(r"layer1\.0\.conv1\.weight", r"fc\.weight"),
        when=without_counters,
        settle=settle,
        method="byol",
    ),
    Layout(
        (EncoderSpec("online", "online_network."), EncoderSpec("ema", "target_network.")),
        evidence=(r"online_network\.[\w.]+", r"target_network\.[\w.]+"),
        method="byol",
    ),
    Layout(
        (
            EncoderSpec("online", "", ("online_network_state_dict",)),
            EncoderSpec("online", "encoder.", ("online_network_state_dict",)),
            EncoderSpec("ema", "", ("target_network_state_dict",)),
            EncoderSpec("ema", "encoder.", ("target_network_state_dict",)),
        ),
        beside=("online_network_state_dict", "target_network_state_dict"),
        method="byol",
    ),
)
