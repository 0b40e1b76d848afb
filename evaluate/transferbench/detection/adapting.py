"""A recipe by its name, made to fit the network and the data it is run on, or the reason why it cannot be."""

from collections.abc import Sequence
from pathlib import Path

from transferbench.checkpoints import Card
from transferbench.data import LabelledImages
from transferbench.detection import fitness, recipe, solving
from transferbench.detection.recipe import Recipe
from transferbench.errors import unknown
from transferbench.resources import resource

FOLDER = "detectron_configs"


def resolved(name: str, overrides: Sequence[str], batch_size: int | None) -> Recipe:
    """The recipe of that name, or in that YAML file, with KEY VALUE overrides, for so many images an iteration.

    Raises:
        UserError: when there is none, or with each key that does not fit.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = resource(FOLDER) / f"{name}.yaml"
        if not path.exists():
            known = [each.stem for each in path.parent.glob("*.yaml") if not each.stem.startswith("Base")]
            raise unknown("recipe", name, known)
    found = recipe.read(path, overrides)
    return solving.rescaled(found, batch_size or found.SOLVER.IMS_PER_BATCH)


def following(card: Card, images: LabelledImages) -> list[str]:
    """The overrides that make a recipe describe this network, its pixels' mean and deviation, and these classes."""
    scale = 255 / card.preprocess.input_range
    words = fitness.overrides(card.architecture) if card.architecture.family == "resnet" else []
    for key, values in (("MEAN", card.preprocess.mean), ("STD", card.preprocess.std)):
        words += [f"MODEL.PIXEL_{key}", str([round(value * scale, 3) for value in values])]
    return [*words, "MODEL.ROI_HEADS.NUM_CLASSES", str(len(images.info.classes))]


def unfit(adapted: Recipe, card: Card, train: LabelledImages, test: LabelledImages) -> str | None:
    """Why such a detector cannot be trained on the one split and judged on the other; None when it can."""
    assert train.annotated is not None
    assert test.annotated is not None
    if (train.info.classes, train.annotated.categories) != (test.info.classes, test.annotated.categories):
        return (
            f"The splits of {train.info.name} differ in their categories: {train.split} has {_categories(train)}, "
            f"{test.split} has {_categories(test)}. Expected the same in both."
        )
    if card.preprocess.channel_order != "rgb":
        return "The network takes BGR images, and detectors are fed RGB here."
    if adapted.TEST.EVAL_PERIOD or adapted.TEST.AUG.ENABLED:
        return "TEST.EVAL_PERIOD and TEST.AUG are not honoured: a detector is judged once, at the end. Leave them out."
    if adapted.MODEL.MASK_ON and not (train.annotated.has_masks and test.annotated.has_masks):
        return (
            f"{train.info.name} has objects without masks, and the recipe learns masks. "
            'For boxes alone: --set detect.overrides="MODEL.MASK_ON False".'
        )
    return fitness.unsuited(adapted, card.architecture)


def _categories(images: LabelledImages) -> str:
    assert images.annotated is not None
    pairs = [f"{number} {name}" for number, name in zip(images.annotated.categories, images.info.classes, strict=True)]
    return ", ".join(pairs[:10]) + " ..." * (len(pairs) > 10)
