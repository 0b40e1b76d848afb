"""A detector's tensors by Detectron2's names."""

import re
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
PYRAMID = re.compile(r"pyramid\.(lateral|output)\.(\d)\.(conv|norm)\.")
LINEAR = re.compile(r"heads\.linear\.(\d)\.")
MASK_CONV = re.compile(r"heads\.mask\.convs\.(\d)\.")
RESNET = Naming("detectron2 ResNet", (), DETECTRON2)


def to_detectron2(names: Iterable[str]) -> dict[str, str]:
    """Each of our detector's names with Detectron2's; the extra norm follows the fifth stage's last block there."""
    every = list(names)
    blocks = {name.split(".")[2] for name in every if name.startswith("heads.layer4.")}
    below = "backbone.bottom_up." if any(PYRAMID.match(name) for name in every) else "backbone."
    rows = (
        *HEADS,
        (f"roi_heads.res5.{len(blocks)}.", "heads.extra_norm."),
        (below, "trunk."),
        ("roi_heads.", "heads."),
    )
    return {name: _spelled(name, rows) for name in every}


def _spelled(name: str, rows: tuple[tuple[str, str], ...]) -> str:
    numbered = _numbered(name)
    if numbered != name:
        return numbered
    for theirs, ours in rows:
        if name.startswith(ours):
            return theirs + RESNET.spell(name.removeprefix(ours))[0]
    raise KeyError(name)


def _numbered(name: str) -> str:
    """Numbered layers of pyramids; Detectron2 counts its stages from 2 and its layers from 1."""
    name = PYRAMID.sub(lambda m: f"backbone.fpn_{m[1]}{int(m[2]) + 2}." + ("norm." if m[3] == "norm" else ""), name)
    name = LINEAR.sub(lambda m: f"roi_heads.box_head.fc{int(m[1]) + 1}.", name)
    return MASK_CONV.sub(lambda m: f"roi_heads.mask_head.mask_fcn{int(m[1]) + 1}.", name)
