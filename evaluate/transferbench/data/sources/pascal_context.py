"""PASCAL-Context (Mottaghi et al., CVPR 2014), 59 classes and the background, in the masks that mmsegmentation makes.

In VOC2010/: lists in ImageSets/SegmentationContext, masks in SegmentationClassContext, made by its
tools/dataset_converters/pascal_context.py. Number 0 is the background, which is every other label; the others are 59 of
the 459 labels in the order of their numbers, which is that of the alphabet (its mmseg/datasets/pascal_context.py). The
authors' own list, 59_labels.txt, has another order, which no score depends on.
"""

from dataclasses import replace
from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.voc_maps import VocLists, open_listed

HELP = "PASCAL-Context on VOC 2010, by hand, with mmsegmentation's converter; DATA/pascal_context holds VOC2010/"

CLASSES = tuple(
    """
background, aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car, cat,
ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, ground, horse,
keyboard, light, motorbike, mountain, mouse, person, plate, platform, pottedplant, road, rock, sheep, shelves, sidewalk,
sign, sky, snow, sofa, table, track, train, tree, truck, tvmonitor, wall, water, window, wood
""".strip()
    .replace("\n", " ")
    .split(", ")
)
LISTS = VocLists(
    name="pascal_context",
    classes=CLASSES,
    year="VOC2010",
    lists="ImageSets/SegmentationContext",
    files={"train": ("train",), "val": ("val",)},
    masks=("SegmentationClassContext",),
    expected="Expected VOC2010/ with ImageSets/SegmentationContext/, JPEGImages/ and SegmentationClassContext/.",
)
WITHOUT_BACKGROUND = replace(LISTS, name="pascal_context59", classes=CLASSES[1:], zero_is_other=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in the order of its list.

    Raises:
        UserError: for an unknown split, or when a list, an image or a mask is missing.
    """
    return open_listed(LISTS, where, split)
