# pyright: reportMissingImports=false
"""The region heads that recipes name and Detectron2 lacks, registered with it and made of its own blocks.

MoCo's detectors normalize once more after the fifth stage. Detectron2's stock stage is of bottlenecks whatever the
depth, so that a ResNet-18's or -34's weights would find no place in it (docs/protocols.md#extra-norm).
"""

from typing import Any

from torch import nn

PLAIN = "Res5ROIHeadsOfAnyDepth"
EXTRA_NORM = "Res5ROIHeadsExtraNorm"
BLOCKS = {18: 2, 34: 3}
"""Plain blocks in the fifth stage, by depth; other depths have bottlenecks."""


def register() -> None:
    """Make both known to Detectron2, once a process."""
    from detectron2.layers import get_norm
    from detectron2.modeling import ROI_HEADS_REGISTRY
    from detectron2.modeling.roi_heads import Res5ROIHeads

    if PLAIN in ROI_HEADS_REGISTRY:
        return

    class OfAnyDepth(Res5ROIHeads):
        @classmethod
        def _build_res5_block(cls, cfg: Any) -> tuple[nn.Sequential, int]:
            return _plain_stage(cfg) if cfg.MODEL.RESNETS.DEPTH in BLOCKS else super()._build_res5_block(cfg)

    class ExtraNorm(OfAnyDepth):
        @classmethod
        def _build_res5_block(cls, cfg: Any) -> tuple[nn.Sequential, int]:
            stage, channels = super()._build_res5_block(cfg)
            stage.append(get_norm(cfg.MODEL.RESNETS.NORM, channels))
            return stage, channels

    for name, kind in ((PLAIN, OfAnyDepth), (EXTRA_NORM, ExtraNorm)):
        kind.__name__ = name
        ROI_HEADS_REGISTRY.register(kind)


def name_for(heads: str) -> str:
    """The registered name of the heads that a recipe names."""
    return PLAIN if heads == "Res5ROIHeads" else heads


def _plain_stage(cfg: Any) -> tuple[nn.Sequential, int]:
    from detectron2.modeling.backbone.resnet import BasicBlock, ResNet

    keys = cfg.MODEL.RESNETS
    count, channels = BLOCKS[keys.DEPTH], 8 * keys.RES2_OUT_CHANNELS
    blocks = ResNet.make_stage(
        BasicBlock,
        count,
        stride_per_block=[2, *[1] * (count - 1)],
        in_channels=channels // 2,
        out_channels=channels,
        norm=keys.NORM,
    )
    return nn.Sequential(*blocks), channels
