"""lightning-bolts (Lightning-Universe): encoders with a random `fc`, projections in a `model`."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, imagenet, small
from transferbench.data.transforms import Preprocess

CIFAR = small((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """CIFAR-10's statistics behind the 3x3 stem, ImageNet's elsewhere."""
    return CIFAR if architecture.arguments.get("stem") == "cifar" else imagenet(architecture)


BESIDE = ("pytorch-lightning_version",)

LAYOUTS = (
    Layout(
        (EncoderSpec("online", "encoder."),),
        evidence=(r"encoder\.[\w.]+", r"projection\.model\.0\.weight"),
        beside=BESIDE,
        preprocess=preprocess,
        method="bolts",
    ),
    Layout(
        (EncoderSpec("online", "online_network."), EncoderSpec("ema", "target_network.")),
        evidence=(r"online_network\.encoder\.[\w.]+", r"target_network\.[\w.]+"),
        beside=BESIDE,
        preprocess=preprocess,
        method="bolts",
    ),
)
