"""timm: plain ViT names, and the files of its training script, whose average it evaluates itself."""

import math

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess

HALF = (0.5, 0.5, 0.5)


def settle(architecture: Architecture, file: File) -> Settled:
    """A ViT's normalization stands in timm's table of models, not in the file."""
    return Settled(assumed=("the input normalization, which timm's files do not hold",))


def training(architecture: Architecture, file: File) -> Preprocess:
    """timm's own ViTs have mean and deviation 0.5, its ResNets ImageNet's (docs/checkpoints.md#normalization)."""
    usual = imagenet(architecture)
    return usual.model_copy(update={"mean": HALF, "std": HALF}) if architecture.family == "vit" else usual


def lost_registers(file: File) -> bool:
    """Patches of 14 beside a class token without a position: in timm's names DINOv2 with registers.

    Without them it would be a DeiT-III, whose only network with patches of 14 is the huge one, 1280 wide.
    """
    position, patches = (file.state.tensors.get(name) for name in ("pos_embed", "patch_embed.proj.weight"))
    if position is None or patches is None or position.ndim != 3 or file.has("reg_token"):
        return False
    has_no_class = math.isqrt(position.shape[1]) ** 2 == position.shape[1]
    return has_no_class and patches.shape[-1] == 14 and patches.shape[0] != 1280


BLOCKS = (r"(blocks|layer\d)\.\d+\.[\w.]+",)
BESIDE = ("state_dict", "version", "args")

LAYOUTS = (
    Layout(
        evidence=("cls_token", r"blocks\.0\.ls1\.gamma"),
        when=lost_registers,
        refusal="it is DINOv2 with registers, and reg_token is missing",
    ),
    Layout(evidence=(r"(blocks|layers\.\d+\.blocks)\.\d+\.attn\.qkv\.weight",), settle=settle, names_only=True),
    Layout(
        (EncoderSpec("online", "", ("state_dict",)),),
        evidence=BLOCKS,
        beside=BESIDE,
        settle=settle,
        preprocess=training,
    ),
    Layout(
        (EncoderSpec("ema", "", ("state_dict_ema",)), EncoderSpec("online", "", ("state_dict",))),
        evidence=BLOCKS,
        beside=(*BESIDE, "state_dict_ema"),
        settle=settle,
        preprocess=training,
    ),
)
