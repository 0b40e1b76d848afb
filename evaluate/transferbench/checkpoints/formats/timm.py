"""timm: plain ViT names, and the files of its training script, whose average it evaluates itself."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import Encoder, File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

HALF = (0.5, 0.5, 0.5)


def settle(architecture: Architecture, file: File) -> Settled:
    """A ViT's normalisation stands in timm's table of models, not in the file."""
    return Settled(assumed=("the input normalisation, which timm's files do not hold",))


def training(architecture: Architecture, file: File) -> Preprocess:
    """timm's own ViT settings have mean and deviation 0.5, its ResNets ImageNet's (spec/checkpoints.md 5)."""
    usual = imagenet(architecture)
    return usual.model_copy(update={"mean": HALF, "std": HALF}) if architecture.family == "vit" else usual


LAYOUTS = (
    Layout(evidence=(r"(blocks|layers\.\d+\.blocks)\.\d+\.attn\.qkv\.weight",), settle=settle),
    Layout(
        (Encoder("ema", "", ("state_dict_ema",)), Encoder("online", "", ("state_dict",))),
        evidence=(r"(blocks|layer\d)\.\d+\.[\w.]+",),
        beside=("state_dict", "version", "args"),
        settle=settle,
        preprocess=training,
    ),
)
