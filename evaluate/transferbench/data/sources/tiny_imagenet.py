"""Tiny ImageNet (Stanford CS231n, 2015): 100,000 training and 10,000 validation images of 64x64 pixels, 200 classes."""

from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.files import Listing, Official, from_folders, opened

HELP = "Tiny ImageNet: download it by hand; DATA/tiny_imagenet holds tiny-imagenet-200/"

INSIDE = "tiny-imagenet-200"
ABOUT = Official(
    "tiny_imagenet",
    "Tiny ImageNet",
    splits=("train", "val"),
    expected=f"{INSIDE}/ from its zip, with train/WNID/images/ and val/images/ beside val/val_annotations.txt (or "
    "val/WNID/)",
)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, as packed by its authors or with the validation images sorted into folders.

    Raises:
        UserError: when it is not there or not whole, with what is expected.
    """
    return opened(ABOUT, where, split, lambda: _listed(where / INSIDE, split))


def _listed(folder: Path, split: str) -> Listing:
    if split == "train":
        return from_folders(folder / "train", "images")
    classes = from_folders(folder / "train", "images").classes
    notes = folder / "val" / "val_annotations.txt"
    if not notes.exists():
        inside = "images" if (folder / "val" / classes[0] / "images").is_dir() else ""
        return from_folders(folder / "val", inside, classes)
    number = {name: label for label, name in enumerate(classes)}
    lines = [line.split() for line in notes.read_text().splitlines()]
    return Listing(
        [folder / "val" / "images" / name for name, *_ in lines], [number[wnid] for _, wnid, *_ in lines], classes
    )
