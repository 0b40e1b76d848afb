"""SimMIM (microsoft/SimMIM): a Swin or ViT encoder and a one-layer decoder."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, imagenet
from transferbench.data.transforms import Preprocess


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """ImageNet's statistics at the size of the network, 192 pixels in the published ones; bicubic."""
    return imagenet(architecture).model_copy(update={"interpolation": "bicubic"})


LAYOUTS = (
    Layout(
        (EncoderSpec("online", "encoder."),),
        evidence=(r"encoder\.mask_token", r"decoder\.0\.weight"),
        beside=("model",),
        preprocess=preprocess,
        method="simmim",
    ),
)
