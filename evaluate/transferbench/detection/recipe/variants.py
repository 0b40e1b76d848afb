"""The two detectors there are, on the fourth stage (C4) and on a pyramid (FPN), and the keys that go together."""

from functools import reduce
from typing import Any

from transferbench.detection.recipe.keys import ModelKeys
from transferbench.errors import UserError

PYRAMID = "build_resnet_fpn_backbone"
STAGES = ("res2", "res3", "res4", "res5")
LEVELS = ("p2", "p3", "p4", "p5", "p6")
RES5_HEADS = ("Res5ROIHeads", "Res5ROIHeadsExtraNorm")

C4: dict[str, tuple[Any, ...]] = {
    "RESNETS.OUT_FEATURES": (("res4",),),
    "FPN.IN_FEATURES": ((),),
    "RPN.IN_FEATURES": (("res4",),),
    "ROI_HEADS.IN_FEATURES": (("res4",),),
    "ROI_HEADS.NAME": RES5_HEADS,
    "ROI_BOX_HEAD.NAME": ("",),
    "ROI_BOX_HEAD.NUM_FC": (0,),
    "ROI_MASK_HEAD.NUM_CONV": (0,),
}
FPN: dict[str, tuple[Any, ...]] = {
    "RESNETS.OUT_FEATURES": (STAGES,),
    "FPN.IN_FEATURES": (STAGES,),
    "RPN.IN_FEATURES": (LEVELS,),
    "ROI_HEADS.IN_FEATURES": (LEVELS[:-1],),
    "ROI_HEADS.NAME": ("StandardROIHeads",),
    "ROI_BOX_HEAD.NAME": ("FastRCNNConvFCHead",),
}


def is_pyramid(keys: ModelKeys) -> bool:
    """Whether a recipe is for a feature pyramid."""
    return keys.BACKBONE.NAME == PYRAMID


def check(keys: ModelKeys) -> None:
    """Every key has a value that the recipe's detector is built with.

    Raises:
        UserError: with one line for each that has not.
    """
    wrong = [
        f"  MODEL.{key}: found {value!r}; with {keys.BACKBONE.NAME} it can be {' or '.join(map(repr, allowed))}"
        for key, allowed in (FPN if is_pyramid(keys) else C4).items()
        if (value := reduce(getattr, key.split("."), keys)) not in allowed
    ]
    levels = len(keys.RPN.IN_FEATURES)
    for key in ("SIZES", "ASPECT_RATIOS"):
        count = len(getattr(keys.ANCHOR_GENERATOR, key))
        if count not in (1, levels):
            wrong.append(f"  MODEL.ANCHOR_GENERATOR.{key}: found {count} lists; there can be 1, or {levels}, one a map")
    if wrong:
        raise UserError("\n".join((f"{len(wrong)} key(s) are inconsistent:", *wrong)))
