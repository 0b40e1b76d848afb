"""PASCAL VOC 2012 segmentation (Everingham et al.): its own lists train and val, 20 classes and the background.

Masks are those of SegmentationClass, the numbers of a palette; 255 is the outline of objects and what is hard to tell.
"""

from dataclasses import replace
from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.sources.voc07 import CLASSES
from transferbench.data.voc_maps import VocLists, open_listed

HELP = "VOC 2012, 1.9 GiB: download VOCtrainval_11-May-2012.tar by hand; DATA/voc12seg holds VOC2012/ or VOCdevkit/"

LISTS = VocLists(
    name="voc12seg",
    classes=("background", *CLASSES),
    year="VOC2012",
    lists="ImageSets/Segmentation",
    files={"train": ("train",), "val": ("val",)},
    masks=("SegmentationClass",),
    expected="Expected VOC2012/ with ImageSets/Segmentation/, JPEGImages/ and SegmentationClass/.",
)
AUGMENTED = replace(
    LISTS,
    name="voc12aug",
    files={"train": ("trainaug", "train_aug"), "val": ("val",)},
    masks=("SegmentationClass", "SegmentationClassAug"),
    expected=f"{LISTS.expected[:-1]}, and beside them trainaug.txt (or train_aug.txt) and SegmentationClassAug/.",
)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in the order of its list.

    Raises:
        UserError: for an unknown split, or when a list, an image or a mask is missing.
    """
    return open_listed(LISTS, where, split)
