"""LeJEPA (rbalestr-lab/lejepa, MINIMAL.md): a ViT of timm's, whose classifier is an embedding, and a projector.

Features are what that classifier is given: its embedding is a linear map of them, which a linear probe cannot add to.
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess


def settle(architecture: Architecture, file: File) -> Settled:
    """The embedding that is left out."""
    width = file.rows("backbone.head.weight")
    return Settled(assumed=(f"features are those before backbone.head, whose {width} outputs the source probes",))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """ImageNet's statistics, the shorter side to the size of the network, the center cropped."""
    side = imagenet(architecture).crop
    return Preprocess(size=side, crop=side)


LAYOUTS = (
    Layout(
        (EncoderSpec("backbone", "backbone."),),
        evidence=(
            r"backbone\.blocks\.0\.attn\.qkv\.weight",
            r"backbone\.head\.weight",
            r"proj\.0\.weight",
            r"proj\.1\.running_mean",
        ),
        settle=settle,
        preprocess=preprocess,
        method="lejepa",
    ),
)
