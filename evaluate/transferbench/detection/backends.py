"""The two programs that can compute a detector, and which of them does."""

from typing import Literal

from transferbench.backbones import Architecture
from transferbench.detection import by_detectron2
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.training.loop import Ground
from transferbench.detection.trial import Engine, Trial

Backend = Literal["auto", "detectron2", "torchvision"]


def chosen(asked: Backend, recipe: DetectionRecipe) -> Backend:
    """What `auto` stands for here: Detectron2 where it is installed and can run the recipe, else torchvision."""
    if asked != "auto":
        return asked
    can = by_detectron2.is_installed() and by_detectron2.cannot(recipe) is None
    return "detectron2" if can else "torchvision"


def unfit(name: Backend, adapted: DetectionRecipe, architecture: Architecture) -> str | None:
    """Why the backend cannot run a recipe that fits the network, with what to do; None when it can."""
    return by_detectron2.unfit(adapted, architecture) if name == "detectron2" else None


def engine(name: Backend, trial: Trial, ground: Ground) -> Engine:
    """The backend of that name at work on a trial."""
    if name == "detectron2":
        from transferbench.detection.by_detectron2 import engine as theirs

        return theirs.Detectron2Engine(trial, ground)
    from transferbench.detection import by_torchvision as ours

    return ours.TorchvisionEngine(trial, ground)
