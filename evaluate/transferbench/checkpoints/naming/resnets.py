"""How sources spell ResNets (docs/checkpoints.md#naming). Canonical names are torchvision's."""

import re

from transferbench.checkpoints.naming import Naming, Row, Weights

BLOCK = "layer{s}.{b}."
SHORTCUT = re.compile(r"((?:.*\.)?layer\d\.\d+\.)shortcut\.([01]\..*)")


def _downsample(weights: Weights) -> Weights:
    """CIFAR code since kuangliu's calls the shortcut `shortcut`."""
    if not any("shortcut" in name for name in weights):
        return weights
    return {SHORTCUT.sub(r"\1downsample.\2", name): tensor for name, tensor in weights.items()}


def _children(first: int) -> tuple[Row, ...]:
    """`nn.Sequential(*children)`: convolution, norm, and the four stages from number `first` on."""
    return ("0.", "conv1."), ("1.", "bn1."), (f"{{s+{first - 1}}}.", "layer{s}.")


DETECTRON2: tuple[Row, ...] = (
    ("stem.conv1.norm.", "bn1."),
    ("stem.conv1.", "conv1."),
    ("res{s+1}.{b}.conv{k}.norm.", BLOCK + "bn{k}."),
    ("res{s+1}.{b}.conv{k}.", BLOCK + "conv{k}."),
    ("res{s+1}.{b}.shortcut.norm.", BLOCK + "downsample.1."),
    ("res{s+1}.{b}.shortcut.", BLOCK + "downsample.0."),
)
DETECTRON2_C4: tuple[Row, ...] = (
    ("roi_heads.res5.{b}.conv{k}.norm.", "layer4.{b}.bn{k}."),
    ("roi_heads.res5.{b}.conv{k}.", "layer4.{b}.conv{k}."),
    ("roi_heads.res5.{b}.shortcut.norm.", "layer4.{b}.downsample.1."),
    ("roi_heads.res5.{b}.shortcut.", "layer4.{b}.downsample.0."),
    *((f"backbone.{source}", target) for source, target in DETECTRON2 if isinstance(source, str)),
)
HUGGINGFACE: tuple[Row, ...] = (
    ("embedder.embedder.convolution.", "conv1."),
    ("embedder.embedder.normalization.", "bn1."),
    ("encoder.stages.{s-1}.layers.{b}.layer.{k-1}.convolution.", BLOCK + "conv{k}."),
    ("encoder.stages.{s-1}.layers.{b}.layer.{k-1}.normalization.", BLOCK + "bn{k}."),
    ("encoder.stages.{s-1}.layers.{b}.shortcut.convolution.", BLOCK + "downsample.0."),
    ("encoder.stages.{s-1}.layers.{b}.shortcut.normalization.", BLOCK + "downsample.1."),
)
SIMCLRV2: tuple[Row, ...] = (
    ("net.0.0.", "conv1."),
    ("net.0.1.0.", "bn1."),
    ("net.{s}.blocks.{b}.net.{2k-1}.0.", BLOCK + "bn{k}."),
    ("net.{s}.blocks.{b}.net.{2k-2}.", BLOCK + "conv{k}."),
    ("net.{s}.blocks.{b}.projection.shortcut.", BLOCK + "downsample.0."),
    ("net.{s}.blocks.{b}.projection.bn.0.", BLOCK + "downsample.1."),
)
OBOW: tuple[Row, ...] = (
    ("_feature_blocks.0.Conv.", "conv1."),
    ("_feature_blocks.0.bn.", "bn1."),
    ("_feature_blocks.{s}.", "layer{s}."),
)
DEEP: tuple[Row, ...] = (("stem.7.", "bn1."), ("stem.{n}.", "conv1.{n}."))

NAMINGS = (
    Naming("torchvision ResNet", (r"layer[1-4]\.0\.conv[12]\.weight",), adapt=_downsample),
    Naming("Sequential of a ResNet's children", (r"[4-7]\.0\.conv[12]\.weight",), _children(4), _downsample),
    Naming("Sequential without max-pool", (r"[3-6]\.0\.conv[12]\.weight",), _children(3), _downsample),
    Naming("Sequential of convolution, norm and stages", (r"[2-5]\.0\.conv[12]\.weight",), _children(2), _downsample),
    Naming("detectron2 ResNet", (r"res[2-5]\.0\.conv[12]\.weight",), DETECTRON2, unused=(r"stem\.fc\.[\w.]+",)),
    Naming("detectron2 ResNet in a C4 detector", (r"roi_heads\.res5\.0\.conv[12]\.weight",), DETECTRON2_C4),
    Naming(
        "transformers ResNet",
        (r"encoder\.stages\.[0-3]\.layers\.0\.layer\.[01]\.convolution\.weight",),
        HUGGINGFACE,
    ),
    Naming("SimCLRv2 ResNet", (r"net\.[1-4]\.blocks\.0\.net\.[02]\.weight",), SIMCLRV2),
    Naming("OBoW ResNet", (r"_feature_blocks\.[1-4]\.0\.conv[12]\.weight",), OBOW),
    Naming("mmpretrain ResNet with deep stem", (r"stem\.[03]\.weight",), DEEP),
    Naming(
        "ResNet with its stem apart",
        (r"stem\.conv0\.weight", r"stem\.BN1\.weight"),
        (("stem.conv0.", "conv1."), ("stem.BN1.", "bn1.")),
        unused=(r"bn1\.\w+",),
    ),
)
