"""A C4 detector's tensors by Detectron2's names, and back."""

from collections.abc import Iterable

from transferbench.checkpoints.naming import Naming
from transferbench.checkpoints.naming.resnets import DETECTRON2

HEADS: tuple[tuple[str, str], ...] = (
    ("proposal_generator.rpn_head.conv.", "rpn.conv."),
    ("proposal_generator.rpn_head.objectness_logits.", "rpn.objectness."),
    ("proposal_generator.rpn_head.anchor_deltas.", "rpn.offsets."),
    ("roi_heads.box_predictor.cls_score.", "heads.scores."),
    ("roi_heads.box_predictor.bbox_pred.", "heads.offsets."),
    ("roi_heads.mask_head.deconv.", "heads.mask.deconv."),
    ("roi_heads.mask_head.predictor.", "heads.mask.predictor."),
)
TRUNK, HEAD = ("backbone.", "trunk."), ("roi_heads.", "heads.")
RESNET = Naming("detectron2 ResNet", (), DETECTRON2)


def to_detectron2(names: Iterable[str]) -> dict[str, str]:
    """Each of our detector's names with Detectron2's; the extra norm follows the fifth stage's last block there."""
    every = list(names)
    blocks = {name.split(".")[2] for name in every if name.startswith("heads.layer4.")}
    rows = (*HEADS, (f"roi_heads.res5.{len(blocks)}.", "heads.extra_norm."))
    return {name: _spelt(name, rows) for name in every}


def _spelt(name: str, rows: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in rows:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    theirs, ours = TRUNK if name.startswith(TRUNK[1]) else HEAD
    return theirs + RESNET.spell(name.removeprefix(ours))[0]
