"""The keys of Detectron2's configuration that decide what a detector is, with Detectron2's own defaults.

A key that is not here, and a value that a type here does not admit, is refused: nothing in a recipe is ignored.
Defaults are those of `detectron2/config/defaults.py` (docs/protocols.md#detection).
"""

from typing import Literal

from pydantic import Field

from transferbench.settings import Settings

Four = tuple[float, float, float, float]


class BackboneKeys(Settings):
    """`MODEL.BACKBONE`."""

    NAME: Literal["build_resnet_backbone", "build_resnet_fpn_backbone"] = "build_resnet_backbone"
    FREEZE_AT: int = Field(default=2, ge=0, le=5, description="1 freezes the stem, 2 also the first stage, and so on")


class ResNetKeys(Settings):
    """`MODEL.RESNETS`; compared with the backbone, which is there already."""

    DEPTH: int = 50
    NUM_GROUPS: int = Field(default=1, ge=1)
    WIDTH_PER_GROUP: int = Field(default=64, ge=1)
    STEM_OUT_CHANNELS: int = Field(default=64, ge=1)
    RES2_OUT_CHANNELS: int = Field(default=256, ge=1)
    STRIDE_IN_1X1: bool = True
    NORM: Literal["BN", "SyncBN", "FrozenBN"] = "FrozenBN"
    OUT_FEATURES: tuple[str, ...] = ("res4",)
    RES5_DILATION: Literal[1] = 1


class PyramidKeys(Settings):
    """`MODEL.FPN`."""

    IN_FEATURES: tuple[str, ...] = ()
    OUT_CHANNELS: int = Field(default=256, ge=1)
    NORM: Literal["", "BN", "SyncBN", "FrozenBN"] = ""
    FUSE_TYPE: Literal["sum"] = "sum"


class AnchorKeys(Settings):
    """`MODEL.ANCHOR_GENERATOR`: for each map sizes (pixels) and ratios (height over width), or once for all."""

    NAME: Literal["DefaultAnchorGenerator"] = "DefaultAnchorGenerator"
    SIZES: tuple[tuple[float, ...], ...] = ((32, 64, 128, 256, 512),)
    ASPECT_RATIOS: tuple[tuple[float, ...], ...] = ((0.5, 1.0, 2.0),)
    OFFSET: float = Field(default=0.0, ge=0, lt=1)


class ProposalKeys(Settings):
    """`MODEL.PROPOSAL_GENERATOR`."""

    NAME: Literal["RPN"] = "RPN"
    MIN_SIZE: float = Field(default=0, ge=0, description="pixels")


class RPNKeys(Settings):
    """`MODEL.RPN`."""

    HEAD_NAME: Literal["StandardRPNHead"] = "StandardRPNHead"
    IN_FEATURES: tuple[str, ...] = ("res4",)
    BOUNDARY_THRESH: Literal[-1] = -1
    IOU_THRESHOLDS: tuple[float, float] = (0.3, 0.7)
    IOU_LABELS: tuple[int, int, int] = (0, -1, 1)
    BATCH_SIZE_PER_IMAGE: int = Field(default=256, ge=1)
    POSITIVE_FRACTION: float = Field(default=0.5, ge=0, le=1)
    BBOX_REG_LOSS_TYPE: Literal["smooth_l1"] = "smooth_l1"
    BBOX_REG_LOSS_WEIGHT: float = 1.0
    BBOX_REG_WEIGHTS: Four = (1.0, 1.0, 1.0, 1.0)
    SMOOTH_L1_BETA: float = Field(default=0.0, ge=0)
    LOSS_WEIGHT: float = 1.0
    PRE_NMS_TOPK_TRAIN: int = Field(default=12000, ge=1)
    PRE_NMS_TOPK_TEST: int = Field(default=6000, ge=1)
    POST_NMS_TOPK_TRAIN: int = Field(default=2000, ge=1)
    POST_NMS_TOPK_TEST: int = Field(default=1000, ge=1)
    NMS_THRESH: float = Field(default=0.7, ge=0, le=1)


class HeadsKeys(Settings):
    """`MODEL.ROI_HEADS`."""

    NAME: Literal["Res5ROIHeads", "Res5ROIHeadsExtraNorm", "StandardROIHeads"] = "Res5ROIHeads"
    NUM_CLASSES: int = Field(default=80, ge=1)
    IN_FEATURES: tuple[str, ...] = ("res4",)
    IOU_THRESHOLDS: tuple[float] = (0.5,)
    IOU_LABELS: tuple[int, int] = (0, 1)
    BATCH_SIZE_PER_IMAGE: int = Field(default=512, ge=1)
    POSITIVE_FRACTION: float = Field(default=0.25, ge=0, le=1)
    PROPOSAL_APPEND_GT: bool = True
    SCORE_THRESH_TEST: float = 0.05
    NMS_THRESH_TEST: float = Field(default=0.5, ge=0, le=1)


class BoxHeadKeys(Settings):
    """`MODEL.ROI_BOX_HEAD`; its layers are of pyramids only."""

    NAME: Literal["", "FastRCNNConvFCHead"] = ""
    NUM_CONV: Literal[0] = 0
    NUM_FC: int = Field(default=0, ge=0)
    FC_DIM: int = Field(default=1024, ge=1)
    NORM: Literal[""] = ""
    TRAIN_ON_PRED_BOXES: Literal[False] = False
    POOLER_TYPE: Literal["ROIAlignV2"] = "ROIAlignV2"
    POOLER_RESOLUTION: int = Field(default=14, ge=1)
    POOLER_SAMPLING_RATIO: int = Field(default=0, ge=0)
    BBOX_REG_LOSS_TYPE: Literal["smooth_l1"] = "smooth_l1"
    BBOX_REG_LOSS_WEIGHT: float = 1.0
    BBOX_REG_WEIGHTS: Four = (10.0, 10.0, 5.0, 5.0)
    SMOOTH_L1_BETA: float = Field(default=0.0, ge=0)
    CLS_AGNOSTIC_BBOX_REG: Literal[False] = False


class MaskHeadKeys(Settings):
    """`MODEL.ROI_MASK_HEAD`. The poolers' keys have no effect on a C4 detector, in Detectron2 neither."""

    NAME: Literal["MaskRCNNConvUpsampleHead"] = "MaskRCNNConvUpsampleHead"
    NUM_CONV: int = Field(default=0, ge=0)
    CONV_DIM: int = Field(default=256, ge=1)
    NORM: Literal[""] = ""
    CLS_AGNOSTIC_MASK: Literal[False] = False
    POOLER_TYPE: Literal["ROIAlignV2"] = "ROIAlignV2"
    POOLER_RESOLUTION: int = Field(default=14, ge=1)
    POOLER_SAMPLING_RATIO: int = Field(default=0, ge=0)


class ModelKeys(Settings):
    """`MODEL`."""

    META_ARCHITECTURE: Literal["GeneralizedRCNN"] = "GeneralizedRCNN"
    MASK_ON: bool = False
    KEYPOINT_ON: Literal[False] = False
    LOAD_PROPOSALS: Literal[False] = False
    WEIGHTS: str = Field(default="", description="no effect: the weights are the candidate's")
    PIXEL_MEAN: tuple[float, float, float] = (103.53, 116.28, 123.675)
    PIXEL_STD: tuple[float, float, float] = (1.0, 1.0, 1.0)
    BACKBONE: BackboneKeys = BackboneKeys()
    RESNETS: ResNetKeys = ResNetKeys()
    FPN: PyramidKeys = PyramidKeys()
    ANCHOR_GENERATOR: AnchorKeys = AnchorKeys()
    PROPOSAL_GENERATOR: ProposalKeys = ProposalKeys()
    RPN: RPNKeys = RPNKeys()
    ROI_HEADS: HeadsKeys = HeadsKeys()
    ROI_BOX_HEAD: BoxHeadKeys = BoxHeadKeys()
    ROI_MASK_HEAD: MaskHeadKeys = MaskHeadKeys()
