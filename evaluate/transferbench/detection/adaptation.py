"""A recipe adapted to the network and the data it is run on, or the reason why it cannot be."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from transferbench.checkpoints import Card
from transferbench.data import LabeledImages
from transferbench.detection import recipe
from transferbench.detection.recipe import DetectionRecipe, compatibility
from transferbench.detection.training import optimization
from transferbench.errors import unknown
from transferbench.resources import resource

FOLDER = "detectron_configs"


def resolved(name: str, overrides: Sequence[str], batch_size: int | None) -> DetectionRecipe:
    """The recipe of that name, or in that YAML file, with KEY VALUE overrides, for so many images an iteration.

    Raises:
        UserError: when there is none, or with each key that does not fit.
    """
    found = recipe.read(file_of(name), overrides)
    return optimization.rescaled(found, batch_size or found.SOLVER.IMS_PER_BATCH)


def names() -> list[str]:
    """The recipes in `detectron_configs/`."""
    return sorted(each.stem for each in resource(FOLDER).glob("*.yaml") if not each.stem.startswith("Base"))


def file_of(name: str) -> Path:
    """The YAML file of a recipe. Raises UserError when there is none of that name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    if not (resource(FOLDER) / f"{name}.yaml").exists():
        raise unknown("recipe", name, names())
    return resource(FOLDER) / f"{name}.yaml"


def following(card: Card, images: LabeledImages) -> list[str]:
    """The overrides that make a recipe describe this network, the pixels it takes, and these classes."""
    words = compatibility.overrides(card.architecture) if card.architecture.family == "resnet" else []
    return [*words, *(str(word) for pair in stated(card, images).items() for word in pair)]


def stated(card: Card, images: LabeledImages) -> dict[str, Any]:
    """What the keys of pixels and classes have to be: the card's order of colors, mean and deviation on 0 to 255."""
    pixels, scale = card.preprocess, 255 / card.preprocess.input_range
    return {
        "INPUT.FORMAT": pixels.channel_order.upper(),
        "MODEL.PIXEL_MEAN": tuple(round(value * scale, 3) for value in pixels.mean),
        "MODEL.PIXEL_STD": tuple(round(value * scale, 3) for value in pixels.std),
        "MODEL.ROI_HEADS.NUM_CLASSES": len(images.info.classes),
    }


def unfit(adapted: DetectionRecipe, card: Card, train: LabeledImages, test: LabeledImages) -> str | None:
    """Why such a detector cannot be trained on the one split and judged on the other; None when it can."""
    if (train.info.classes, train.boxes.categories) != (test.info.classes, test.boxes.categories):
        return (
            f"The splits of {train.info.name} differ in their categories: {train.split} has {_categories(train)}, "
            f"{test.split} has {_categories(test)}. Expected the same in both."
        )
    for key, value in stated(card, train).items():
        if (found := reduce(getattr, key.split("."), adapted)) != value:
            return (
                f"{key} was overridden with {found}; the network and the data have {value}. Leave the key out, for "
                "recipes follow them, or say with --as what else the network takes."
            )
    if adapted.TEST.EVAL_PERIOD or adapted.TEST.AUG.ENABLED:
        return "TEST.EVAL_PERIOD and TEST.AUG are not supported: a detector is evaluated once, at the end. Omit them."
    if adapted.MODEL.MASK_ON and not (train.boxes.has_masks and test.boxes.has_masks):
        return (
            f"{train.info.name} has objects without masks, and the recipe learns masks. "
            'For boxes alone: --set detect.overrides="MODEL.MASK_ON False".'
        )
    return compatibility.unsuited(adapted, card.architecture)


def _categories(images: LabeledImages) -> str:
    pairs = [f"{number} {name}" for number, name in zip(images.boxes.categories, images.info.classes, strict=True)]
    return ", ".join(pairs[:10]) + " ..." * (len(pairs) > 10)
