"""SCAN (wvangansbeke/Unsupervised-Classification): a backbone with a contrastive head or cluster heads."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import CIFAR_MEAN, EncoderSpec, File, Layout, small
from transferbench.checkpoints.formats import imagenet as usual
from transferbench.data.transforms import Preprocess


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """CIFAR-10's statistics behind the 3x3 stem."""
    is_small = architecture.arguments.get("stem") == "cifar"
    return small(CIFAR_MEAN, (0.2023, 0.1994, 0.201)) if is_small else usual(architecture)


LAYOUTS = (
    Layout(
        (EncoderSpec("online", "backbone."),),
        evidence=(r"backbone\.[\w.]+", r"(contrastive|cluster)_head\.[\w.]+"),
        preprocess=preprocess,
        method="scan",
    ),
)
