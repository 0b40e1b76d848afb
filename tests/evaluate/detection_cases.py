"""The detectors, images and objects of the golden numbers, from rules that need neither Detectron2 nor stored weights.

`uniform` draws from PCG64's raw stream, whose values numpy promises never to change, seeded by the crc32 of a name.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from transferbench.backbones import Architecture
from transferbench.backbones import build as build_backbone
from transferbench.detection.model.detector import Detector, build
from transferbench.detection.model.names import to_detectron2
from transferbench.detection.recipe import DetectionRecipe, read
from transferbench.detection.recipe.compatibility import overrides
from transferbench.detection.targets.samples import Objects, Sample
from transferbench.resources import resource

CLASSES = 3
FACTORS = {"anchor_deltas": 0.1, "cls_score": 0.3, "bbox_pred": 0.1, "mask_head.predictor.weight": -1}
"""On weights that would otherwise say the same of every box or leave its mask empty."""
SEED = 7
"""Of the anchors and regions that are drawn."""

SMALL = {
    "MODEL.ROI_HEADS.NUM_CLASSES": CLASSES,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 12,
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 64,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 400,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 64,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 300,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 24,
    "TEST.DETECTIONS_PER_IMAGE": 8,
    "MODEL.RESNETS.NORM": "BN",
}
GRADIENTS = [
    "backbone.stem.conv1.weight",
    "backbone.res2.0.conv1.weight",
    "backbone.res4.0.conv2.weight",
    "backbone.res4.0.conv1.norm.bias",
    "proposal_generator.rpn_head.conv.weight",
    "proposal_generator.rpn_head.anchor_deltas.bias",
    "roi_heads.res5.0.conv1.weight",
    "roi_heads.res5.0.shortcut.norm.weight",
    "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.box_predictor.bbox_pred.bias",
    "roi_heads.mask_head.deconv.weight",
    "backbone.bottom_up.stem.conv1.weight",
    "backbone.fpn_lateral3.weight",
    "backbone.fpn_output5.norm.bias",
    "roi_heads.box_head.fc1.weight",
    "roi_heads.mask_head.mask_fcn2.weight",
]
STATISTICS = (
    "backbone.stem.conv1.norm.running_mean",
    "roi_heads.res5.1.conv2.norm.running_var",
    "backbone.bottom_up.res5.1.conv2.norm.running_mean",
    "backbone.fpn_output2.norm.running_var",
)


@dataclass(frozen=True)
class Case:
    """A recipe's changes and the ResNet; `is_empty` takes the second image's objects away."""

    depth: int
    words: tuple[str, ...] = ()
    is_empty: bool = False
    base: str = "coco_R_50_C4_1x"
    width: float = 1.0

    @property
    def architecture(self) -> Architecture:
        return Architecture(family="resnet", arguments={"depth": self.depth, "width": self.width})

    @property
    def words_given(self) -> list[str]:
        """Every KEY VALUE pair over the base."""
        small = [str(word) for pair in SMALL.items() for word in pair]
        return [*overrides(self.architecture), *small, *self.words]

    def recipe(self) -> DetectionRecipe:
        return read(resource("detectron_configs") / f"{self.base}.yaml", self.words_given)


POOL_7 = ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "7")
CASES = {
    "r50": Case(50, width=0.25),  # of ResNet-18 Detectron2 has one width only
    "r18": Case(18, (*POOL_7, "MODEL.BACKBONE.FREEZE_AT", "2")),
    "r18_boxes": Case(
        18,
        (
            *POOL_7,
            *("MODEL.MASK_ON", "False", "MODEL.RESNETS.NORM", "FrozenBN", "MODEL.ROI_HEADS.NAME", "Res5ROIHeads"),
            *("MODEL.RPN.SMOOTH_L1_BETA", "0.1", "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA", "0.5"),
            *("MODEL.RPN.BATCH_SIZE_PER_IMAGE", "1024"),
            *("MODEL.RPN.LOSS_WEIGHT", "0.5", "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT", "2.0"),
        ),
        is_empty=True,
    ),
    "r18_fpn": Case(
        18,
        (
            *("MODEL.FPN.NORM", "BN", "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "4", "MODEL.ROI_BOX_HEAD.FC_DIM", "64"),
            *("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", "8", "MODEL.ROI_MASK_HEAD.CONV_DIM", "32"),
        ),
        base="coco_R_50_FPN_1x",
    ),
}


@contextmanager
def in_float64() -> Iterator[None]:
    """Everything inside computes in float64, also where code asks for `torch.float32` or `.float()` by name.

    A gradient of these few images depends on which units lie above zero and which boxes overlap most. Float32 decides
    some of that by the order of its sums, which processors differ in; float64 leaves nothing so close to a boundary.
    """
    before = torch.get_default_dtype()
    with mock.patch.object(torch, "float32", torch.float64), mock.patch.object(torch.Tensor, "float", Tensor.double):
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Numbers between `low` and `high` that depend on the name and the shape only."""
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(math.prod(shape))
    unit = (raw >> np.uint64(40)).astype(np.float64) / 2**24
    return torch.from_numpy((low + (high - low) * unit).astype(np.float32).reshape(shape))


def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """The weights of a detector by Detectron2's name of them."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        return uniform(name, shape, 0.5, 1.5)
    if name.endswith((".bias", "running_mean")):
        return uniform(name, shape, -0.2, 0.2)
    if len(shape) == 1:
        return uniform(name, shape, 0.5, 1.0)
    bound = math.sqrt(6 / math.prod(shape[1:])) * next((f for part, f in FACTORS.items() if part in name), 1)
    return uniform(name, shape, -bound, bound)


def ours(case: Case) -> Detector:
    """Our detector with the rule's weights."""
    detector = build(case.recipe(), build_backbone(case.architecture), CLASSES)
    state = detector.state_dict()
    names = to_detectron2(state)
    detector.load_state_dict({name: tensor(names[name], tuple(old.shape)) for name, old in state.items()})
    return detector


def samples(case: Case) -> list[Sample]:
    """Two images of blocks of 8 pixels, seen at other sizes than their own, with three and two objects."""
    first = _objects(
        [[12, 10, 70, 66], [60, 30, 130, 100], [5, 70, 40, 108]],
        [0, 2, 1],
        [
            [[12, 66, 41, 10, 70, 66]],
            [[60, 30, 130, 30, 130, 60, 95, 62.5, 92, 100, 60, 100]],
            [[5, 70, 40, 70, 20, 90], [9, 95, 38, 92, 30, 108]],
        ],
    )
    second = _objects(
        [[20, 8, 100, 60], [64.5, 40.25, 120, 90]],
        [1, 1],
        [[[20, 8, 100, 20, 88, 60, 30, 50]], [[64.5, 50, 90, 40.25, 120, 90]]],
    )
    if case.is_empty:
        second = _objects([], [], [])
    return [
        Sample(_image("image 0", 112, 144), (168, 216), first),
        Sample(_image("image 1", 96, 128), (100, 130), second),
    ]


def _image(name: str, height: int, width: int) -> Tensor:
    blocks = uniform(name, (3, height // 8, width // 8), 0, 256).floor().to(torch.get_default_dtype())
    return blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)


def _objects(boxes: list, labels: list[int], polygons: list) -> Objects:
    outlines = [[np.array(outline, np.float64) for outline in each] for each in polygons]
    return Objects(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), outlines
    )
