"""Hiera (facebookresearch/hiera): fine-tuned networks, of which the normed mean of the last tokens is evaluated."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import File, Layout, imagenet
from transferbench.data.transforms import Preprocess


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """ImageNet's, bicubic."""
    return imagenet(architecture).model_copy(update={"interpolation": "bicubic"})


BLOCK = (r"blocks\.0\.attn\.qkv\.weight", r"blocks\.\d+\.proj\.weight")

LAYOUTS = (
    Layout(evidence=BLOCK, beside=("model_state",), preprocess=preprocess),
    Layout(
        evidence=(*BLOCK, r"encoder_norm\.weight", r"decoder_pos_embed"),
        refusal="it is a masked autoencoder of Hiera's, whose norm (encoder_norm) is of its fused tokens: there is "
        "none for pooled features, which fine-tuning adds. Give a fine-tuned file",
    ),
)
