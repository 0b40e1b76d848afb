"""timm: plain ViT names, and the files of its training script, whose average it evaluates itself."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import CLASSIFIER, Encoder, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

HALF = (0.5, 0.5, 0.5)


def settle(architecture: Architecture) -> Settled:
    """A ViT's normalisation stands in timm's table of models, not in the file."""
    return Settled(assumed=("the input normalisation, which timm's files do not hold",))


def training(architecture: Architecture) -> Preprocess:
    """timm's own ViT settings have mean and deviation 0.5, its ResNets ImageNet's (spec/checkpoints.md 5)."""
    usual = imagenet(architecture)
    return usual.model_copy(update={"mean": HALF, "std": HALF}) if architecture.family == "vit" else usual


LAYOUTS = (
    Layout((Encoder(),), evidence=(r"blocks\.\d+\.attn\.qkv\.weight",), heads=(CLASSIFIER,), settle=settle),
    Layout(
        (Encoder("ema", "", ("state_dict_ema",)), Encoder("online", "", ("state_dict",))),
        evidence=(r"(blocks|layer\d)\.\d+\.[\w.]+",),
        beside=("state_dict", "version", "args"),
        heads=(CLASSIFIER,),
        settle=settle,
        preprocess=training,
    ),
)
