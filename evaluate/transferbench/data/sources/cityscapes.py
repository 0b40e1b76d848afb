"""Cityscapes with fine annotations (Cordts et al., CVPR 2016) in 19 classes: 2,975 training and 500 val images.

In leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY. Masks are the `_labelIds.png` that come with it, their ids turned into
train ids by the table in helpers/labels.py (mcordts/cityscapesScripts), or, where those are not there, the
`_labelTrainIds.png` that its scripts make; 255 is no class. Names, ids and counts are that repository's.
"""

from pathlib import Path, PurePosixPath

from transferbench import runtime
from transferbench.data import LOCAL, DatasetInfo, LabeledImages
from transferbench.data.bundles import Bundle
from transferbench.data.image_pairs import Coding, labeled, paired
from transferbench.errors import UserError, unknown

HELP = "Cityscapes: download leftImg8bit and gtFine by hand after registering; DATA/cityscapes holds both folders"

LAYOUT = "Expected leftImg8bit/train/CITY/*_leftImg8bit.png, gtFine/train/CITY/*_gtFine_labelIds.png, and so val."
SPLITS = ("train", "val")
IDS = {
    **{"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19},
    **{"traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26},
    **{"truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33},
}
"""The id of each of the 19 classes, in the order of their train ids."""
KNOWN = range(34)
"""The ids that masks hold; -1, a license plate, is never drawn (preparation/json2labelImg.py)."""
TRAIN_IDS = tuple(list(IDS.values()).index(i) if i in IDS.values() else 255 for i in KNOWN)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in the order of the files' paths.

    Raises:
        UserError: when it is not there, or images and masks do not pair up.
    """
    if split not in SPLITS:
        raise unknown("split of cityscapes", split, SPLITS)
    bundle = Bundle(runtime.detection_folder(where), LAYOUT)
    images = [name for name in bundle.below(f"leftImg8bit/{split}") if name.endswith("_leftImg8bit.png")]
    every = bundle.below(f"gtFine/{split}")
    by_kind = {kind: [name for name in every if name.endswith(f"_gtFine_{kind}.png")] for kind in KINDS}
    kind = next((kind for kind in KINDS if by_kind[kind]), "labelIds")
    if not images or not by_kind[kind]:
        lacking = f"images in leftImg8bit/{split}" if not images else f"masks in gtFine/{split}"
        raise UserError(f"{bundle.root} has no {lacking}. {LAYOUT}")
    pairs = paired(images, by_kind[kind], f"cityscapes, {split}", _frame)
    info = DatasetInfo("cityscapes", tuple(IDS), SPLITS, None, LOCAL, "miou", "label maps")
    return labeled(info, split, bundle, pairs, Coding(table=KINDS[kind]))


KINDS = {"labelIds": TRAIN_IDS, "labelTrainIds": None}
"""How masks may be named, the best first, and the table to train ids."""


def _frame(path: str) -> str:
    """City, sequence and frame, which an image and its mask have in common."""
    return "_".join(PurePosixPath(path).name.split("_")[:3])
