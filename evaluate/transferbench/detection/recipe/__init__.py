"""Detectron2's recipes: their keys, how files are read, and which networks they are for."""

from transferbench import renamed
from transferbench.detection.recipe.detection_recipe import BASE, HINT, DetectionRecipe, chain, read, with_bases

__all__ = [
    "BASE",
    "HINT",
    "DetectionRecipe",
    "chain",
    "read",
    "with_bases",
]


__getattr__ = renamed.names_of(__name__)
