"""AIMv2 (apple/ml-aim): the image encoder, alone or beside the text encoder (LiT).

Features are the mean of the normed patches. Its authors train an attention pool on them (main_attnprobe.py).
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

POOLED = "features are the patches' mean: AIMv2's authors train a pool of their own on the frozen patches"


def settle(architecture: Architecture, file: File) -> Settled:
    """What pools the patches."""
    return Settled(assumed=(POOLED,))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """ImageNet's, bicubic, as `val_transforms` does; transformers' copies of these networks have CLIP's statistics."""
    return imagenet(architecture).model_copy(update={"interpolation": "bicubic"})


NAMES = (r"(.*\.)?preprocessor\.patchifier\.proj\.weight", r"(.*\.)?trunk\.blocks\.0\.mlp\.fc3\.weight")

LAYOUTS = (
    Layout(evidence=NAMES, settle=settle, preprocess=preprocess, method="aimv2"),
    Layout(
        (EncoderSpec("image encoder", "image_encoder."),),
        evidence=(*NAMES, r"image_encoder\.preprocessor\.[\w.]+"),
        settle=settle,
        preprocess=preprocess,
        method="aimv2",
    ),
)
