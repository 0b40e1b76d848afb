"""Oxford-IIIT Pets (Parkhi et al., 2012): 3,680 training (trainval) and 3,669 test photos of 37 breeds."""

from pathlib import Path

from torchvision.datasets import OxfordIIITPet

from transferbench.data import LabeledImages
from transferbench.data.files import Listing, Official, opened

HELP = "Oxford-IIIT Pets, 0.8 GiB: evaluate download pets"

ABOUT = Official("pets", "Oxford-IIIT Pets", metric="mean_per_class")
PARTS = {"train": "trainval", "test": "test"}


def download(where: Path) -> None:
    """Fetch the data set with torchvision, which checks its md5."""
    OxfordIIITPet(where, download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, from the official list of it; the classes are the breeds.

    Raises:
        UserError: when it is not there or not whole, with the command that gets it.
    """
    return opened(ABOUT, where, split, lambda: _listed(where / "oxford-iiit-pet", PARTS[split]))


def _listed(folder: Path, part: str) -> Listing:
    """A line of the list is: image, breed from 1, species, number within the species."""
    lines = [line.split() for line in (folder / "annotations" / f"{part}.txt").read_text().splitlines()]
    labels = [int(breed) - 1 for _, breed, *_ in lines]
    names = {label: image.rpartition("_")[0] for (image, *_), label in zip(lines, labels, strict=True)}
    classes = [names[label] for label in range(len(names))]
    return Listing([folder / "images" / f"{image}.jpg" for image, *_ in lines], labels, classes)
