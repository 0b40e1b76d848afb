"""TIPS (google-deepmind/tips): an image encoder in an npz, in DINOv2's names, with two class tokens.

Features are the first one after the last norm, the first that its `forward` gives; the second is DINOv2's register.
"""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

SECOND = "features are the first of two class tokens; the second, which no linear evaluation here takes, is left out"


def is_npz(file: File) -> bool:
    """Whether numpy wrote it."""
    return file.contents.container == "numpy zip"


def settle(architecture: Architecture, file: File) -> Settled:
    """Which class token."""
    return Settled(assumed=(SECOND,))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """Both sides to the size of the network, bilinear, values from 0 to 1 as they are."""
    side = imagenet(architecture).crop
    return Preprocess(mean=(0, 0, 0), std=(1, 1, 1), size=side, resize="square", crop=side)


LAYOUTS = (
    Layout(
        evidence=(r"blocks\.0\.ls1\.gamma", r"register_tokens", r"mask_token"),
        when=is_npz,
        settle=settle,
        preprocess=preprocess,
        method="tips",
    ),
)
