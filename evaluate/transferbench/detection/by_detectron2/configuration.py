# pyright: reportMissingImports=false
"""A recipe as Detectron2's own configuration, every key of it."""

from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from transferbench.data import LabeledImages
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.training.loop import Ground


def configured(recipe: DetectionRecipe) -> Any:
    """A `CfgNode` with Detectron2's defaults below all that the recipe says, its defaults too."""
    from detectron2.config import get_cfg

    config = get_cfg()
    for key, value in pairs(recipe.model_dump()):
        is_whole = isinstance(reduce(getattr, key.split("."), config), int) and isinstance(value, float)
        config.merge_from_list([key, int(value) if is_whole else value])
    return config


def placed(config: Any, ground: Ground, weights: Path) -> Any:
    """The configuration with where and from what it is trained; no number depends on these.

    Steps that the last iteration does not reach are left out: Detectron2 stops on them.
    """
    config.SOLVER.STEPS = tuple(step for step in config.SOLVER.STEPS if step < config.SOLVER.MAX_ITER)
    config.MODEL.DEVICE = str(ground.runtime.device)
    config.MODEL.WEIGHTS = str(weights)
    config.OUTPUT_DIR = str(weights.parent)
    config.DATALOADER.NUM_WORKERS = ground.workers
    return config


def mask_format(images: LabeledImages, recipe: DetectionRecipe) -> str:
    """`polygon`, as published, where every mask that is learned is one; `bitmask` where some are run lengths."""
    return "bitmask" if recipe.MODEL.MASK_ON and images.boxes.packed.coded else "polygon"


def pairs(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key in full with its value."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from pairs(value, f"{above}{key}.")
        else:
            yield above + key, value
