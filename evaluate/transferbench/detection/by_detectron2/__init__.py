"""The backend that is Detectron2 itself: its models, loaders, solver and trainer, on our recipes, data and checkpoints.

It is no dependency. Nothing here imports it until a detector is built.
"""

import importlib.util

import torch

from transferbench.backbones import Architecture
from transferbench.checkpoints.targets.detectron2 import DEPTHS, TARGET
from transferbench.detection.recipe import DetectionRecipe

INSTALL = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"
OTHER = "The other backend can run it: --set detect.backend=torchvision"


def is_installed() -> bool:
    """Whether Detectron2 can be imported; a folder of its name that is no package does not count."""
    spec = importlib.util.find_spec("detectron2")
    return spec is not None and spec.origin is not None


def cannot(recipe: DetectionRecipe) -> str | None:
    """What Detectron2 cannot do of a recipe on this machine; None when it can run it."""
    keys = recipe.MODEL.RESNETS
    if keys.DEPTH not in DEPTHS:
        return f"it has no ResNet of {keys.DEPTH} layers"
    if keys.DEPTH < 50 and keys.RES2_OUT_CHANNELS != 64:
        return f"its plain blocks are 64 channels wide, not {keys.RES2_OUT_CHANNELS}"
    if recipe.SOLVER.AMP.ENABLED and not torch.cuda.is_available():
        return "its mixed precision (SOLVER.AMP) needs a GPU"
    return None


def unfit(recipe: DetectionRecipe, architecture: Architecture) -> str | None:
    """Why Detectron2 cannot run a recipe that fits the network, with what to do; None when it can."""
    if not is_installed():
        return f"Detectron2 is not installed. Build it against the installed torch:\n  {INSTALL}\n{OTHER}"
    reason = "; ".join(TARGET.misfits(architecture)) or cannot(recipe)
    return f"Detectron2 cannot run this on {architecture.name}: {reason}. {OTHER}" if reason else None
