"""iNaturalist 2018 (Van Horn et al.): 437,513 training and 24,426 validation photos of 8,142 species."""

import json
from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.files import Listing, Official, opened

HELP = "iNaturalist 2018: download it by hand; DATA/inat18 holds train_val2018/ and the two annotation files"

ABOUT = Official(
    "inat18",
    "iNaturalist 2018",
    splits=("train", "val"),
    revision="2018",
    expected="train_val2018/, train2018.json and val2018.json, as the competition packed them",
)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, in the order of its annotation file; the classes are the species.

    Raises:
        UserError: when it is not there or not whole, with what is expected.
    """
    return opened(ABOUT, where, split, lambda: _annotated(where, split))


def _annotated(where: Path, split: str) -> Listing:
    annotations = json.loads((where / f"{split}2018.json").read_text())
    species = {entry["image_id"]: entry["category_id"] for entry in annotations["annotations"]}
    classes = {entry["id"]: str(entry["name"]) for entry in annotations["categories"]}
    files = [where / image["file_name"] for image in annotations["images"]]
    number = {category: label for label, category in enumerate(sorted(classes))}
    labels = [number[species[image["id"]]] for image in annotations["images"]]
    return Listing(files, labels, [classes[category] for category in number])
