"""INTL (winci-ai/INTL): online and, for INTL_M, momentum network, each with its projection."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import CIFAR_MEAN, EncoderSpec, File, Layout, Settled, imagenet, small
from transferbench.data.transforms import Preprocess

CIFAR = small(CIFAR_MEAN, (0.247, 0.243, 0.261))
"""Of INTL's own CIFAR evaluation, for CIFAR-10 and CIFAR-100 (docs/checkpoints.md#normalization)."""


def settle(architecture: Architecture, file: File) -> Settled:
    """INTL's CIFAR network pads the image by one before its 3x3 convolution (docs/checkpoints.md#traps)."""
    if architecture.arguments.get("stem") != "cifar":
        return Settled()
    return Settled(
        {"pre_pad": 1},
        ("the image is zero-padded by 1 before the 3x3 stem, as INTL's code does since 2023-06-02 (pre_pad=1)",),
    )


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """CIFAR's statistics behind the 3x3 stem, ImageNet's elsewhere."""
    return CIFAR if architecture.arguments.get("stem") == "cifar" else imagenet(architecture)


LAYOUTS = (
    Layout(
        encoders=(
            EncoderSpec("online", "backbone.", ("state_dict",)),
            EncoderSpec("ema", "momentum_backbone.", ("state_dict",)),
        ),
        evidence=(r"(momentum_)?backbone\.[\w.]+", r"projection\.\d\.weight"),
        settle=settle,
        preprocess=preprocess,
        method="intl",
    ),
)
