"""PASCAL-Context in 59 classes: that of `pascal_context`, whose background is left out, in training and in scores.

As in mmsegmentation's configs/_base_/datasets/pascal_context_59.py, which reduces labels by one.
"""

from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.sources.pascal_context import WITHOUT_BACKGROUND
from transferbench.data.voc_maps import open_listed

HELP = "as pascal_context; DATA/pascal_context59 holds VOC2010/"


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in the order of its list.

    Raises:
        UserError: for an unknown split, or when a list, an image or a mask is missing.
    """
    return open_listed(WITHOUT_BACKGROUND, where, split)
