"""A recipe adapted to the network and the data it is run on, or the reason why it cannot be."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from transferbench.checkpoints import Card
from transferbench.data import LabeledImages
from transferbench.detection import recipe
from transferbench.detection.recipe import DetectionRecipe, compatibility
from transferbench.detection.recipe.named import file_of


def resolved(name: str, overrides: Sequence[str], batch_size: int | None) -> DetectionRecipe:
    """The recipe of that name, or in that YAML file, with KEY VALUE overrides, for so many images an iteration.

    Raises:
        UserError: when there is none, or with each key that does not fit.
    """
    base = recipe.read(file_of(name), overrides)
    from transferbench.detection.training import optimization

    return optimization.rescaled(base, batch_size or base.SOLVER.IMS_PER_BATCH)


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
        if (set_to := reduce(getattr, key.split("."), adapted)) != value:
            return (
                f"{key} was overridden with {set_to}; the network and the data have {value}. Leave the key out, for "
                "recipes follow them, or say with --as what else the network takes."
            )
    if adapted.TEST.EVAL_PERIOD or adapted.TEST.AUG.ENABLED:
        return "TEST.EVAL_PERIOD and TEST.AUG are not supported: a detector is evaluated once, at the end. Omit them."
    reason = _parts_missing(adapted, train, test) or _without_masks(adapted, train, test)
    reason = reason or _unjudged(_of_parts(test, adapted.DATASETS.TEST))
    return reason or compatibility.unsuited(adapted, card.architecture)


def _parts_missing(recipe: DetectionRecipe, train: LabeledImages, test: LabeledImages) -> str | None:
    """Which splits the recipe names in `DATASETS` and the data set has not; None when it has all."""
    for key, images, named in (("TRAIN", train, recipe.DATASETS.TRAIN), ("TEST", test, recipe.DATASETS.TEST)):
        there = sorted({each for each in images.boxes.parts if each})
        absent = [name for name in named if name not in there]
        if absent or len(set(named)) < len(named):
            wrong = f"DATASETS.{key} names {', '.join(absent)}" if absent else f"DATASETS.{key} names a split twice"
            return (
                f"{wrong}; {images.info.name}/{images.split} has {', '.join(there) or 'no split of a name'}. Name "
                f"splits that it has, or none for all its images: --set detect.overrides='DATASETS.{key} ()'."
            )
    return None


def chosen(recipe: DetectionRecipe, train: LabeledImages, test: LabeledImages) -> tuple[LabeledImages, LabeledImages]:
    """The images of the splits that the recipe names in `DATASETS`, in its order; all where it names none."""
    return _of_parts(train, recipe.DATASETS.TRAIN), _of_parts(test, recipe.DATASETS.TEST)


def _of_parts(images: LabeledImages, names: Sequence[str]) -> LabeledImages:
    if not names:
        return images
    parts = np.array(images.boxes.parts)
    places = np.concatenate([np.flatnonzero(parts == name) for name in names])
    is_whole = np.array_equal(places, np.arange(len(images)))
    return images if is_whole else images.subset(places, f"of {' '.join(names)}")


def _without_masks(recipe: DetectionRecipe, train: LabeledImages, test: LabeledImages) -> str | None:
    """The first object that lacks a mask where one is learned or judged; a crowd's is judged, in testing."""
    if not recipe.MODEL.MASK_ON:
        return None
    for images, crowd in ((train, False), (test, False), (test, True)):
        if len(unmasked := images.boxes.unmasked(crowd)):
            kind = "crowds, which are judged," if crowd else "objects"
            return (
                f"{images.info.name} has {kind} without masks, and the recipe learns masks: {images.split}, "
                f"{len(unmasked)} image(s), first {images.names[unmasked[0]]} (id {images.boxes.ids[unmasked[0]]}). "
                'For boxes alone: --set detect.overrides="MODEL.MASK_ON False".'
            )
    return None


def _unjudged(test: LabeledImages) -> str | None:
    if test.boxes.judged:
        return None
    return (
        f"No object is annotated in {test.info.name}/{test.split} that detections could be judged by (crowds and "
        "difficult ones are not). Expected an annotated split."
    )


def _categories(images: LabeledImages) -> str:
    pairs = [f"{number} {name}" for number, name in zip(images.boxes.categories, images.info.classes, strict=True)]
    return ", ".join(pairs[:10]) + " ..." * (len(pairs) > 10)
