"""ImageNet (ILSVRC 2012): 1,281,167 training and 50,000 validation images of 1,000 classes."""

from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.files import Listing, Official, from_folders, opened

HELP = "ImageNet: on request from its authors; DATA/imagenet holds train/WNID/ and val/WNID/ (or val/ and the devkit)"

DEVKIT = "ILSVRC2012_devkit_t12/data"
ABOUT = Official(
    "imagenet",
    "ImageNet",
    splits=("train", "val"),
    revision="ILSVRC 2012",
    expected="train/WNID/*.JPEG, and val/WNID/*.JPEG or all validation images in val/ with the development kit in "
    "ILSVRC2012_devkit_t12/",
)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split; classes are WordNet ids in alphabetical order, as in torchvision and every published checkpoint.

    Raises:
        UserError: when it is not there or not whole, with what is expected.
    """
    return opened(ABOUT, where, split, lambda: listed(where, split))


def listed(where: Path, split: str, classes: list[str] | None = None) -> Listing:
    """The images of a split, of all classes or some."""
    flat = sorted((where / split).glob("[!.]*.JPEG")) if split == "val" else []
    if not flat:
        return from_folders(where / split, classes=classes)
    wnids = _truth(where / DEVKIT)
    if len(wnids) != len(flat):
        raise ValueError(f"{len(flat)} images in val/, {len(wnids)} lines in the development kit's ground truth")
    known = sorted(set(wnids)) if classes is None else classes
    number = {name: label for label, name in enumerate(known)}
    kept = [(file, number[wnid]) for file, wnid in zip(flat, wnids, strict=True) if wnid in number]
    return Listing([file for file, _ in kept], [label for _, label in kept], known)


def _truth(devkit: Path) -> list[str]:
    """The WordNet id of each validation image in the order of their names, from the development kit's numbers."""
    from scipy.io import loadmat

    synsets = loadmat(str(devkit / "meta.mat"), squeeze_me=True)["synsets"]
    wnids = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in synsets}
    numbers = (devkit / "ILSVRC2012_validation_ground_truth.txt").read_text().split()
    return [wnids[int(number)] for number in numbers]
