"""MoCo v3 (facebookresearch/moco-v3): ResNets and ViTs, whose heads are 12 whatever the width."""

from transferbench.backbones import Architecture
from transferbench.checkpoints.formats import Encoder, File, Layout, Settled


def settle(architecture: Architecture, file: File) -> Settled:
    """ViT-S has 12 heads here, 6 elsewhere (spec/checkpoints.md 3, [code])."""
    if architecture.family != "vit" or architecture.arguments["dim"] > 768:
        return Settled()
    return Settled({"heads": 12}, ("12 heads, as MoCo v3's code builds its ViT-S and ViT-B (heads=12)",))


LAYOUTS = (
    Layout(
        (Encoder("online", "base_encoder."), Encoder("ema", "momentum_encoder.")),
        evidence=(r"base_encoder\.[\w.]+", r"momentum_encoder\.[\w.]+"),
        settle=settle,
        method="mocov3",
    ),
)
