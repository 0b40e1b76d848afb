"""DINOv2 (facebookresearch/dinov2): published backbones and a training's teacher, with or without registers."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled
from transferbench.data.transforms import Preprocess

GIANT, GIANT_HEADS = 1536, 24


def settle(architecture: Architecture, file: File) -> Settled:
    """Without registers positions are resampled at a larger scale, with them to size (docs/checkpoints.md#traps).

    Its ViT-g has 24 heads with either MLP, where other networks as wide have 16.
    """
    if architecture.family != "vit":
        return Settled()
    way = "antialias" if architecture.arguments.get("registers") else "offset"
    said = [f"positions for 224 pixels are resampled as DINOv2's code does (resampling={way})"]
    is_giant = architecture.arguments["dim"] == GIANT and architecture.arguments["heads"] != GIANT_HEADS
    heads = {"heads": GIANT_HEADS} if is_giant else {}
    said += [f"{GIANT_HEADS} heads, as DINOv2's code builds its ViT-g (heads={GIANT_HEADS})"] if is_giant else []
    return Settled({"resampling": way, **heads}, tuple(said))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """As DINOv2 evaluates: 224 pixels, a multiple of the patches of 14, whatever size the positions are for."""
    return Preprocess(size=256, crop=224, interpolation="bicubic")


SCALED = r"(backbone\.)?blocks\.(\d+\.)+ls1\.gamma"

LAYOUTS = (
    Layout((EncoderSpec(),), evidence=(SCALED, r"mask_token"), settle=settle, preprocess=preprocess, method="dinov2"),
    Layout(
        (EncoderSpec(),), evidence=(SCALED, r"register_tokens"), settle=settle, preprocess=preprocess, method="dinov2"
    ),
    Layout(
        (EncoderSpec("teacher", "backbone.", ("teacher", "model")),),
        evidence=(SCALED, r"backbone\.mask_token"),
        settle=settle,
        preprocess=preprocess,
        method="dinov2",
    ),
    Layout(
        evidence=(r".*\b_?flat_param(_\d+)?",),
        refusal="it is one process's share of a network (FSDP); gather the shares into one state dict first",
    ),
)
