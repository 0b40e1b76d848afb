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

    NAME: Literal["build_resnet_backbone", "build_resnet_fpn_backbone"] = Field(
        default="build_resnet_backbone", description="a ResNet alone (C4), or under a feature pyramid"
    )
    FREEZE_AT: int = Field(default=2, ge=0, le=5, description="1 freezes the stem, 2 also the first stage, and so on")


class ResNetKeys(Settings):
    """`MODEL.RESNETS`; compared with the backbone, which is there already."""

    DEPTH: int = Field(default=50, description="number of layers")
    NUM_GROUPS: int = Field(default=1, ge=1, description="groups of the 3x3 convolutions")
    WIDTH_PER_GROUP: int = Field(default=64, ge=1, description="channels of a group in the first stage")
    STEM_OUT_CHANNELS: int = Field(default=64, ge=1, description="channels after the stem")
    RES2_OUT_CHANNELS: int = Field(default=256, ge=1, description="channels after the first stage")
    STRIDE_IN_1X1: bool = Field(default=True, description="bottlenecks stride in their first convolution")
    NORM: Literal["BN", "SyncBN", "FrozenBN"] = Field(
        default="FrozenBN", description="normalization in the backbone; FrozenBN does not learn"
    )
    OUT_FEATURES: tuple[str, ...] = Field(default=("res4",), description="stages that the detector uses")
    RES5_DILATION: Literal[1] = Field(default=1, description="of the last stage: none")


class PyramidKeys(Settings):
    """`MODEL.FPN`."""

    IN_FEATURES: tuple[str, ...] = Field(default=(), description="stages that the pyramid is built on")
    OUT_CHANNELS: int = Field(default=256, ge=1, description="channels of every level")
    NORM: Literal["", "BN", "SyncBN", "FrozenBN"] = Field(
        default="", description="normalization in the pyramid; none when empty"
    )
    FUSE_TYPE: Literal["sum"] = Field(default="sum", description="how a level is joined with the one above")


class AnchorKeys(Settings):
    """`MODEL.ANCHOR_GENERATOR`: for each map sizes (pixels) and ratios (height over width), or once for all."""

    NAME: Literal["DefaultAnchorGenerator"] = Field(
        default="DefaultAnchorGenerator", description="boxes around each cell of a map"
    )
    SIZES: tuple[tuple[float, ...], ...] = Field(
        default=((32, 64, 128, 256, 512),), description="square roots of areas, pixels, for each map or once for all"
    )
    ASPECT_RATIOS: tuple[tuple[float, ...], ...] = Field(
        default=((0.5, 1.0, 2.0),), description="heights over widths, for each map or once for all"
    )
    OFFSET: float = Field(
        default=0.0, ge=0, lt=1, description="of an anchor's center in its cell, as a share of the stride"
    )


class ProposalKeys(Settings):
    """`MODEL.PROPOSAL_GENERATOR`."""

    NAME: Literal["RPN"] = Field(default="RPN", description="what proposes boxes")
    MIN_SIZE: float = Field(default=0, ge=0, description="pixels")


class RPNKeys(Settings):
    """`MODEL.RPN`."""

    HEAD_NAME: Literal["StandardRPNHead"] = Field(
        default="StandardRPNHead", description="one 3x3 convolution and two 1x1"
    )
    IN_FEATURES: tuple[str, ...] = Field(default=("res4",), description="maps that boxes are proposed on")
    BOUNDARY_THRESH: Literal[-1] = Field(default=-1, description="anchors across the border are kept")
    IOU_THRESHOLDS: tuple[float, float] = Field(
        default=(0.3, 0.7), description="below the first an anchor is background, above the second an object"
    )
    IOU_LABELS: tuple[int, int, int] = Field(
        default=(0, -1, 1), description="of the three ranges: background, ignored, object"
    )
    BATCH_SIZE_PER_IMAGE: int = Field(default=256, ge=1, description="anchors per image in the loss")
    POSITIVE_FRACTION: float = Field(default=0.5, ge=0, le=1, description="at most this share of them are objects")
    BBOX_REG_LOSS_TYPE: Literal["smooth_l1"] = Field(default="smooth_l1", description="the boxes' loss")
    BBOX_REG_LOSS_WEIGHT: float = Field(default=1.0, description="of the boxes' loss")
    BBOX_REG_WEIGHTS: Four = Field(default=(1.0, 1.0, 1.0, 1.0), description="scales of dx, dy, dw, dh")
    SMOOTH_L1_BETA: float = Field(
        default=0.0, ge=0, description="where the loss turns from squared to absolute; 0: absolute throughout"
    )
    LOSS_WEIGHT: float = Field(default=1.0, description="of both losses of the proposals")
    PRE_NMS_TOPK_TRAIN: int = Field(
        default=12000,
        ge=1,
        description="boxes kept by score before suppression, in training; in a pyramid of each level",
    )
    PRE_NMS_TOPK_TEST: int = Field(default=6000, ge=1, description="the same in testing")
    POST_NMS_TOPK_TRAIN: int = Field(default=2000, ge=1, description="boxes kept after suppression, in training")
    POST_NMS_TOPK_TEST: int = Field(default=1000, ge=1, description="the same in testing")
    NMS_THRESH: float = Field(
        default=0.7, ge=0, le=1, description="overlap (IoU) above which the box of lower score is dropped"
    )


class HeadsKeys(Settings):
    """`MODEL.ROI_HEADS`."""

    NAME: Literal["Res5ROIHeads", "Res5ROIHeadsExtraNorm", "StandardROIHeads"] = Field(
        default="Res5ROIHeads",
        description="the fifth stage (C4), with one more normalization (ExtraNorm), or heads of a pyramid",
    )
    NUM_CLASSES: int = Field(default=80, ge=1, description="of objects; follows the data")
    IN_FEATURES: tuple[str, ...] = Field(default=("res4",), description="maps that boxes are pooled from")
    IOU_THRESHOLDS: tuple[float] = Field(default=(0.5,), description="overlap from which a proposal is an object")
    IOU_LABELS: tuple[int, int] = Field(default=(0, 1), description="of the two ranges: background, object")
    BATCH_SIZE_PER_IMAGE: int = Field(default=512, ge=1, description="proposals per image in the loss")
    POSITIVE_FRACTION: float = Field(default=0.25, ge=0, le=1, description="at most this share of them are objects")
    PROPOSAL_APPEND_GT: bool = Field(default=True, description="annotated boxes are proposals too, in training")
    SCORE_THRESH_TEST: float = Field(default=0.05, description="detections below this score are dropped")
    NMS_THRESH_TEST: float = Field(
        default=0.5, ge=0, le=1, description="overlap above which a detection of lower score is dropped, class by class"
    )


class BoxHeadKeys(Settings):
    """`MODEL.ROI_BOX_HEAD`; its layers are of pyramids only."""

    NAME: Literal["", "FastRCNNConvFCHead"] = Field(default="", description="the box head of a pyramid; none with C4")
    NUM_CONV: Literal[0] = Field(default=0, description="convolutions of the box head")
    NUM_FC: int = Field(default=0, ge=0, description="fully connected layers of the box head")
    FC_DIM: int = Field(default=1024, ge=1, description="channels of each")
    NORM: Literal[""] = Field(default="", description="normalization in the box head: none")
    TRAIN_ON_PRED_BOXES: Literal[False] = Field(default=False, description="masks are trained on proposals")
    POOLER_TYPE: Literal["ROIAlignV2"] = Field(default="ROIAlignV2", description="how boxes are pooled from a map")
    POOLER_RESOLUTION: int = Field(default=14, ge=1, description="side of the pooled grid, cells")
    POOLER_SAMPLING_RATIO: int = Field(
        default=0, ge=0, description="samples along a side of a cell; 0: one for each pixel of the map that it covers"
    )
    BBOX_REG_LOSS_TYPE: Literal["smooth_l1"] = Field(default="smooth_l1", description="the boxes' loss")
    BBOX_REG_LOSS_WEIGHT: float = Field(default=1.0, description="of the boxes' loss")
    BBOX_REG_WEIGHTS: Four = Field(default=(10.0, 10.0, 5.0, 5.0), description="scales of dx, dy, dw, dh")
    SMOOTH_L1_BETA: float = Field(
        default=0.0, ge=0, description="where the loss turns from squared to absolute; 0: absolute throughout"
    )
    CLS_AGNOSTIC_BBOX_REG: Literal[False] = Field(default=False, description="every class has its own box")


class MaskHeadKeys(Settings):
    """`MODEL.ROI_MASK_HEAD`. The poolers' keys have no effect on a C4 detector, in Detectron2 neither."""

    NAME: Literal["MaskRCNNConvUpsampleHead"] = Field(
        default="MaskRCNNConvUpsampleHead", description="convolutions, one of them upsampling"
    )
    NUM_CONV: int = Field(default=0, ge=0, description="convolutions before the one that upsamples")
    CONV_DIM: int = Field(default=256, ge=1, description="channels of each")
    NORM: Literal[""] = Field(default="", description="normalization in the mask head: none")
    CLS_AGNOSTIC_MASK: Literal[False] = Field(default=False, description="every class has its own mask")
    POOLER_TYPE: Literal["ROIAlignV2"] = Field(default="ROIAlignV2", description="how boxes are pooled from a map")
    POOLER_RESOLUTION: int = Field(default=14, ge=1, description="side of the pooled grid, cells")
    POOLER_SAMPLING_RATIO: int = Field(
        default=0, ge=0, description="samples along a side of a cell; 0: one for each pixel of the map that it covers"
    )


class ModelKeys(Settings):
    """`MODEL`."""

    META_ARCHITECTURE: Literal["GeneralizedRCNN"] = Field(
        default="GeneralizedRCNN", description="proposals, then heads"
    )
    MASK_ON: bool = Field(default=False, description="predict masks too (Mask R-CNN)")
    KEYPOINT_ON: Literal[False] = Field(default=False, description="keypoints are not predicted")
    LOAD_PROPOSALS: Literal[False] = Field(default=False, description="proposals are computed")
    WEIGHTS: str = Field(default="", description="no effect: the weights are the candidate's")
    PIXEL_MEAN: tuple[float, float, float] = Field(
        default=(103.53, 116.28, 123.675), description="taken off each channel; follows the checkpoint"
    )
    PIXEL_STD: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 1.0), description="each channel is divided by; follows the checkpoint"
    )
    BACKBONE: BackboneKeys = BackboneKeys()
    RESNETS: ResNetKeys = ResNetKeys()
    FPN: PyramidKeys = PyramidKeys()
    ANCHOR_GENERATOR: AnchorKeys = AnchorKeys()
    PROPOSAL_GENERATOR: ProposalKeys = ProposalKeys()
    RPN: RPNKeys = RPNKeys()
    ROI_HEADS: HeadsKeys = HeadsKeys()
    ROI_BOX_HEAD: BoxHeadKeys = BoxHeadKeys()
    ROI_MASK_HEAD: MaskHeadKeys = MaskHeadKeys()
