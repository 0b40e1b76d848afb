"""W-MSE (htdt/self-supervised): the module is parallel inside; three stems, two of them with equal tensors."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import CIFAR_MEAN, ROOT, EncoderSpec, File, Layout, Settled, imagenet, small
from transferbench.data.transforms import Preprocess

SETS = {
    "stl10": ("small_maxpool", Preprocess(mean=(0.43, 0.42, 0.39), std=(0.27, 0.26, 0.27), size=70, crop=64)),
    "tiny": ("small_maxpool", small((0.48, 0.448, 0.398), (0.277, 0.269, 0.282), 64)),
    "cifar100": ("cifar", small((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))),
    "cifar10": ("cifar", small(CIFAR_MEAN, (0.2023, 0.1994, 0.201))),
}
"""Stem and images of each data set but ImageNet (docs/checkpoints.md#normalization)."""


def data_set(file: File) -> str | None:
    """The data set in a file's name, where this code writes it: `data/METHOD_DATASET_EPOCH.pt`."""
    return next((name for name in SETS if name in file.contents.path.name.lower()), None)


def settle(architecture: Architecture, file: File) -> Settled:
    """Behind a 3x3 stem the max-pool is kept for STL-10 and Tiny ImageNet, not for CIFAR."""
    if architecture.arguments.get("stem") != "cifar":
        return Settled()
    name = data_set(file)
    stem = SETS[name or "cifar10"][0]
    source = f"the file's name says {name}" if name else "the file does not say which data set; CIFAR-10 is assumed"
    return Settled({"stem": stem}, (f"{source} (stem={stem}; STL-10 and Tiny ImageNet keep the max-pool)",))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """The statistics of the data set that the file's name tells, CIFAR-10's where it tells none."""
    if architecture.arguments.get("stem") not in {"cifar", "small_maxpool"}:
        return imagenet(architecture)
    return SETS[data_set(file) or "cifar10"][1]


LAYOUTS = (
    Layout(
        (EncoderSpec("online", "model.module.", (ROOT,)), EncoderSpec("ema", "model_t.module.", (ROOT,))),
        evidence=(r"model\.module\.[\w.]+", r"head\.\d\.weight"),
        settle=settle,
        preprocess=preprocess,
        method="wmse",
    ),
)
