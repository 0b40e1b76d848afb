"""SupContrast (HobbitLong/SupContrast): an encoder parallel inside the module, a head; small images."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import CIFAR_MEAN, EncoderSpec, File, Layout, imagenet, small
from transferbench.data.transforms import Preprocess

CIFAR = small(CIFAR_MEAN, (0.2023, 0.1994, 0.201))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """CIFAR-10's statistics behind the 3x3 stem."""
    return CIFAR if architecture.arguments.get("stem") == "cifar" else imagenet(architecture)


LAYOUTS = (
    Layout(
        (EncoderSpec("online", "encoder."),),
        evidence=(r"encoder\.(module\.)?layer\d\.0\.shortcut\.0\.weight", r"head\.[\w.]+"),
        beside=("opt", "model"),
        preprocess=preprocess,
        method="supcontrast",
    ),
)
