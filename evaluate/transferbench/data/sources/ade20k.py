"""ADE20K in 150 classes, the MIT scene parsing benchmark (Zhou et al., CVPR 2017): 20,210 training, 2,000 val images.

In the layout of ADEChallengeData2016.zip: images/training, annotations/training, and so validation. Number 0 is "none
of the 150" and is left out unless a task is told otherwise. Classes are those of the benchmark's objectInfo150.txt
(CSAILVision/sceneparsing), by the first of their names; counts are its README's. The full ADE20K, whose `_seg.png` hold
thousands of objects as 256 * (red // 10) + green (same place, convertFromADE.m), is refused: the benchmark's images and
masks were made smaller by MATLAB.
"""

from pathlib import Path

from transferbench import runtime
from transferbench.data import LOCAL, DatasetInfo, LabeledImages
from transferbench.data.bundles import Bundle
from transferbench.data.image_pairs import Coding, labeled, paired
from transferbench.errors import UserError, unknown

HELP = "ADE20K, 0.9 GiB: download ADEChallengeData2016.zip by hand; DATA/ade20k holds its images/ and annotations/"

LAYOUT = (
    "Expected images/training, images/validation, annotations/training and annotations/validation, as unpacked from "
    "ADEChallengeData2016.zip."
)
PARTS = {"train": "training", "val": "validation"}
PLACES = ("", "ADEChallengeData2016/")
CLASSES = tuple(
    """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair,
seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers,
counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table,
pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench,
countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel,
light, truck, tower, chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel, pole, land,
bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer,
plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step,
tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase,
traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock,
flag
""".strip()
    .replace("\n", " ")
    .split(", ")
)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in the order of the files' names.

    Raises:
        UserError: when it is not there, is the full ADE20K, or images and masks do not pair up.
    """
    if split not in PARTS:
        raise unknown("split of ade20k", split, PARTS)
    other = runtime.detection_folder(where.parent / "ADEChallengeData2016")  # as Detectron2 lays it out
    bundle = Bundle(other if other.exists() and not where.exists() else where, LAYOUT)
    top = next((each for each in PLACES if bundle.folders(f"{each}annotations")), None)
    if top is None:
        raise _absent(bundle)
    part = PARTS[split]
    images, masks = (bundle.below(f"{top}{kind}/{part}") for kind in ("images", "annotations"))
    if not images and not masks:
        raise UserError(f"{bundle.root} has no images in images/{part}. {LAYOUT}")
    pairs = paired(images, masks, f"ade20k, {part}", lambda path: Path(path).stem)
    info = DatasetInfo("ade20k", CLASSES, tuple(PARTS), None, LOCAL, "miou", "label maps")
    return labeled(info, split, bundle, pairs, Coding(zero_is_other=True))


def _absent(bundle: Bundle) -> UserError:
    is_full = any("ADE" in bundle.folders(f"{each}images") for each in ("", *(f"{n}/" for n in bundle.folders())))
    what = "is the full ADE20K, with other classes and sizes" if is_full else "has no annotations/"
    return UserError(f"{bundle.root} {what}. {LAYOUT}")
