"""SimCLR: converters from TensorFlow (tonylins, Separius) and the PyTorch versions people use."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import CIFAR_MEAN, EncoderSpec, File, Layout, Settled, imagenet, small
from transferbench.data.transforms import Preprocess

CIFAR = small(CIFAR_MEAN, (0.247, 0.2435, 0.2616))
CIFAR_LEFTTHOMAS = small(CIFAR_MEAN, (0.2023, 0.1994, 0.201))
BLANK = "images are in [0, 1] without normalization, as in SimCLR's own code"


def raw(architecture: Architecture, file: File) -> Preprocess:
    """No normalization (docs/checkpoints.md#normalization)."""
    return imagenet(architecture).model_copy(update={"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)})


def cifar(architecture: Architecture, file: File) -> Preprocess:
    """CIFAR-10's statistics behind a 3x3 stem."""
    return CIFAR if architecture.arguments.get("stem") == "cifar" else imagenet(architecture)


def leftthomas(architecture: Architecture, file: File) -> Preprocess:
    """CIFAR-10's statistics behind a 3x3 stem, with the older deviations."""
    return CIFAR_LEFTTHOMAS if architecture.arguments.get("stem") == "cifar" else imagenet(architecture)


def says(architecture: Architecture, file: File) -> Settled:
    """The report says that nothing is normalized."""
    return Settled(assumed=(BLANK,))


def shortcuts_first(file: File) -> bool:
    """tonylins's blocks register their shortcut before the convolutions, so it comes first in the file."""
    names = list(file.state.tensors)
    first, other = "layer1.0.downsample.0.weight", "layer1.0.conv1.weight"
    return first in names and other in names and names.index(first) < names.index(other)


LAYOUTS = (
    Layout(
        evidence=(r"fc\.weight",),
        beside=("state_dict",),
        when=shortcuts_first,
        settle=says,
        preprocess=raw,
        method="simclr",
    ),
    Layout(
        (EncoderSpec("backbone", "", ("resnet",)),),
        evidence=(r"net\.0\.0\.weight",),
        beside=("resnet", "head"),
        settle=says,
        preprocess=raw,
        method="simclr",
    ),
    Layout(
        evidence=(r"net\.\d\.blocks\.\d+\.net\.\d\.mixing_conv\.\d\.weight",),
        refusal="it is SimCLRv2 with selective kernels, a network this version does not build",
    ),
    Layout(
        (EncoderSpec("online", "", ("encoder",)),),
        evidence=(r"stem\.conv0\.weight",),
        beside=("encoder",),
        preprocess=cifar,
        method="simclr",
    ),
    Layout(
        (EncoderSpec("online", "backbone."),),
        evidence=(r"backbone\.fc\.0\.weight", r"backbone\.fc\.2\.weight"),
        settle=says,
        preprocess=raw,
        method="simclr",
    ),
    Layout(
        (EncoderSpec("online", "encoder.", ("",)),),
        evidence=(r"encoder\.[\w.]+", r"projector\.\d\.weight"),
        settle=says,
        preprocess=raw,
        method="simclr",
    ),
    Layout(
        (EncoderSpec("online", "f.", ("",)),),
        evidence=(r"f\.0\.weight", r"f\.1\.weight"),
        preprocess=leftthomas,
        method="simclr",
    ),
)
