"""SigLIP and SigLIP 2 as big_vision (google-research) saves them: an npz of JAX's arrays, with both encoders.

Features are those of the attention pool, which images share with texts and which its probes take.
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

HALF = (0.5, 0.5, 0.5)
TANH = "GELU by a tanh, as flax computes it; timm's networks of SigLIP compute the exact one in most sizes"


def settle(architecture: Architecture, file: File) -> Settled:
    """The activation."""
    return Settled(assumed=(TANH,))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """Both sides to the size of the network, bilinear, values from -1 to 1."""
    side = imagenet(architecture).crop
    return Preprocess(mean=HALF, std=HALF, size=side, resize="square", crop=side)


LAYOUTS = (
    Layout(
        (EncoderSpec("image encoder", "params.img."), EncoderSpec("image encoder", "img."), EncoderSpec()),
        evidence=(r"(.*\.)?MAPHead_0\.probe", r"(.*\.)?Transformer\.encoderblock_0\.LayerNorm_0\.scale"),
        settle=settle,
        preprocess=preprocess,
        method="siglip",
    ),
)
