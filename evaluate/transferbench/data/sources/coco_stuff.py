"""COCO-Stuff 164k (Caesar et al., CVPR 2018), things and stuff of COCO 2017 in 171 classes: train and val.

Images in images/SPLIT2017, masks in annotations/SPLIT2017, as nightrome/cocostuff says to unpack them, or train2017 and
stuffthingmaps/train2017 beside each other. Of its 182 labels 11 were removed from COCO (its labels.md); what masks hold
is the label's number less 1, or 255 for none (its README). The classes keep the order of labels.txt.
"""

from pathlib import Path

from transferbench.data import LOCAL, DatasetInfo, LabeledImages
from transferbench.data.bundles import Bundle
from transferbench.data.image_pairs import Coding, labeled, paired
from transferbench.errors import UserError, unknown

HELP = "COCO-Stuff, 20 GiB: download COCO 2017 and stuffthingmaps by hand; DATA/coco_stuff holds images/, annotations/"

LAYOUT = (
    "Expected images/train2017, images/val2017, and of stuffthingmaps_trainval2017.zip annotations/train2017 and "
    "annotations/val2017."
)
SPLITS = ("train", "val")
PLACES = (("images", "annotations"), ("images", "stuffthingmaps"), ("", "stuffthingmaps"))
DERIVED = "TrainIds.png"
"""How the masks end that other code derives and leaves beside the published ones."""
CLASSES = tuple(
    """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, parking
meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie,
suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot
dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush, banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other,
ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble,
floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel,
ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper,
pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug,
salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table,
tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone,
wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
""".strip()
    .replace("\n", " ")
    .split(", ")
)
REMOVED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
LABELS = [label for label in range(1, 183) if label not in REMOVED]
TABLE = (
    *(LABELS.index(number + 1) if number + 1 in LABELS else -1 for number in range(182)),
    *(-1 for _ in range(182, 255)),
    255,
)
"""From what masks hold to the number of a class."""


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in the order of the files' names.

    Raises:
        UserError: when it is not there, or images and masks do not pair up.
    """
    if split not in SPLITS:
        raise unknown("split of coco_stuff", split, SPLITS)
    bundle = Bundle(where, LAYOUT)
    part = f"{split}2017"
    folders = [tuple(f"{each}/{part}".lstrip("/") for each in place) for place in PLACES]
    place = next((each for each in folders if all(bundle.below(folder) for folder in each)), None)
    if place is None:
        raise UserError(f"{bundle.root} has not both images and masks of {part}. {LAYOUT}")
    images, masks = (bundle.below(folder) for folder in place)
    masks = [name for name in masks if not name.endswith(DERIVED)]
    pairs = paired(images, masks, f"coco_stuff, {part}", lambda path: Path(path).stem)
    info = DatasetInfo("coco_stuff", CLASSES, SPLITS, None, LOCAL, "miou", "label maps")
    return labeled(info, split, bundle, pairs, Coding(table=TABLE))
