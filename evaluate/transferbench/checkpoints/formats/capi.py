"""CAPI (facebookresearch/capi): encoder and decoder, published below `backbone.` beside the clustering's head.

Features are what its model calls the global representation (`EncoderDecoder.forward`): the mean of what the first layer
of the decoder predicts.
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout
from transferbench.data.transforms import Preprocess


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """As `eval_classification.py`: the shorter side to 256 pixels, bicubic, and a crop of 224."""
    return Preprocess(size=256, crop=224, interpolation="bicubic")


NAMES = (
    r"(backbone\.)?encoder\.blocks\.0\.residual1\.fn\.rope\.freqs",
    r"(backbone\.)?decoder\.blocks\.0\.residual1\.fn\.q_proj\.weight",
    r"(backbone\.)?registers",
)

LAYOUTS = (
    Layout(evidence=NAMES, preprocess=preprocess, method="capi"),
    Layout(
        (EncoderSpec("backbone", "backbone."),),
        evidence=(*NAMES, r"backbone\.mask_token"),
        preprocess=preprocess,
        method="capi",
    ),
)
