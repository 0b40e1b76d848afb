"""transformers (Hugging Face): ResNet, ViT, ViT-MAE, ViT-MSN, I-JEPA and DINOv2; `config.json` beside is read."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import EncoderSpec, File, Layout, Settled, imagenet
from transferbench.data.transforms import Preprocess
from transferbench.settings import read

RESAMPLE = {2: "bilinear", 3: "bicubic"}
"""PIL's numbers."""
RESAMPLED = "positions for images of another size are resampled as transformers does (resampling=plain)"


def settle(architecture: Architecture, file: File) -> Settled:
    """Heads and epsilon from `config.json`, else transformers' defaults (docs/checkpoints.md#traps)."""
    config = file.beside("config.json")
    if architecture.family != "vit":
        return Settled({"stride_in_1x1": True} if config.get("downsample_in_bottleneck") else {})
    is_dinov2 = bool(architecture.arguments["layer_scale"])
    eps, heads = config.get("layer_norm_eps"), config.get("num_attention_heads")
    said = [RESAMPLED] if eps and heads else [RESAMPLED, "no config.json beside the file says heads and epsilon"]
    arguments = {"norm_eps": eps or (1e-6 if is_dinov2 else 1e-12), "resampling": "plain"}
    return Settled({**arguments, **({"heads": heads} if heads else {})}, tuple(said))


def preprocess(architecture: Architecture, file: File) -> Preprocess:
    """From `preprocessor_config.json` where it lies beside, else ImageNet's; DINOv2 at 224 pixels.

    Size and crop only where it resizes the shorter side and crops the center, as everything here does.
    """
    usual = imagenet(architecture)
    if architecture.arguments.get("layer_scale"):
        usual = Preprocess(size=256, crop=224, interpolation="bicubic")
    said, changed = file.beside("preprocessor_config.json"), {}
    mean, std, resample = (said.get(name) for name in ("image_mean", "image_std", "resample"))
    if isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) == 3:
        changed |= {"mean": tuple(mean), "std": tuple(std)}
    if isinstance(resample, int) and resample in RESAMPLE:
        changed["interpolation"] = RESAMPLE[resample]
    size, crop = said.get("size"), said.get("crop_size")
    if isinstance(crop, dict) and said.get("do_center_crop"):
        edge = size.get("shortest_edge") if isinstance(size, dict) else None
        changed |= {"crop": crop.get("height"), "size": edge if said.get("do_resize") else None}
    return read(Preprocess, {**dict(usual), **changed})


def lost_registers(file: File) -> bool:
    """`config.json` counts registers that the file lacks; without them it would fit the DINOv2 that has none."""
    return bool(file.beside("config.json").get("num_register_tokens")) and not file.has(r"(.*\.)?register_tokens")


PATCHES = r"(.*\.)?embeddings\.patch_embeddings\.projection\.weight"
NAMES = ("", "vit.", "dinov2.", "dinov2_with_registers.", "ijepa.", "model.")

LAYOUTS = (
    Layout(
        evidence=(PATCHES,),
        when=lost_registers,
        refusal="embeddings.register_tokens is missing, which its config.json counts",
    ),
    Layout(
        tuple(EncoderSpec("backbone", name) for name in NAMES),
        evidence=(PATCHES, r"(.*\.)?encoder\.layer\.0\.attention\.attention\.query\.weight"),
        settle=settle,
        preprocess=preprocess,
    ),
    Layout(
        (EncoderSpec(), EncoderSpec("backbone", "resnet."), EncoderSpec("backbone", "model.")),
        evidence=(r"(.*\.)?embedder\.embedder\.convolution\.weight", r"(.*\.)?encoder\.stages\.0\.[\w.]+"),
        settle=settle,
        preprocess=preprocess,
    ),
)
