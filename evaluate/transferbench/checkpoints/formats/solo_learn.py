"""solo-learn (vturrisi/solo-learn): Lightning files with an online classifier; its CIFAR stem pads by two."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import CIFAR_MEAN, EncoderSpec, File, Layout, Settled, imagenet, small
from transferbench.data.transforms import Preprocess

CIFAR = small(CIFAR_MEAN, (0.247, 0.2435, 0.2616))
"""Of its pre-training on CIFAR-10; the file does not tell it from CIFAR-100 (docs/checkpoints.md#normalization)."""
MOCOV3 = r"momentum_projector\.7\.running_mean"
MAE = r"decoder\.[\w.]+"


def settle(architecture: Architecture, file: File) -> Settled:
    """Padding of the CIFAR stem; heads of the ViTs of MoCo v3 and MAE (docs/checkpoints.md#traps)."""
    arguments = architecture.arguments
    if arguments.get("stem") == "cifar":
        return Settled(
            {"conv1_padding": 2},
            ("the 3x3 stem pads by 2, as in every release of solo-learn since 2021-05 (conv1_padding=2)",),
        )
    if architecture.family == "vit" and arguments["dim"] < 768 and (file.has(MOCOV3) or file.has(MAE)):
        return Settled({"heads": 12}, ("12 heads, as solo-learn builds the ViTs of MoCo v3 and MAE (heads=12)",))
    return Settled()


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """CIFAR-10's statistics behind the 3x3 stem, ImageNet's elsewhere."""
    return CIFAR if architecture.arguments.get("stem") == "cifar" else imagenet(architecture)


LAYOUTS = tuple(
    Layout(
        (EncoderSpec("online", name), EncoderSpec("ema", f"momentum_{name}")),
        evidence=(rf"{name[:-1]}\.[\w.]+", r"classifier\.weight"),
        beside=("pytorch-lightning_version", "state_dict"),
        settle=settle,
        preprocess=preprocess,
        method="solo_learn",
    )
    for name in ("backbone.", "encoder.")
)
