"""DINO (facebookresearch/dino): student and teacher, each a ViT or ResNet with a head; the teacher is evaluated."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled


def settle(architecture: Architecture, file: File) -> Settled:
    """Positions for other sizes are resampled at a scale a little larger (docs/checkpoints.md#traps)."""
    return Settled({"resampling": "offset"}, (RESAMPLED,)) if architecture.family == "vit" else Settled()


RESAMPLED = "positions for images of another size are resampled as DINO's code does (resampling=offset)"
ENCODERS = (EncoderSpec("teacher", "backbone.", ("teacher",)), EncoderSpec("student", "backbone.", ("student",)))
HEAD = r"head\.last_layer\.(weight_[gv]|parametrizations\.weight\.original\d)"

LAYOUTS = (
    Layout(
        ENCODERS,
        evidence=(r"backbone\.[\w.]+", HEAD),
        beside=("student", "teacher"),
        settle=settle,
        method="dino",
    ),
)
