"""FGVC-Aircraft 2013b (Maji et al., 2013): 6,667 training (trainval) and 3,333 test images of 100 variants."""

from pathlib import Path

from torchvision.datasets import FGVCAircraft

from transferbench.data import LabeledImages
from transferbench.data.files import Official, from_torchvision, opened

HELP = "FGVC-Aircraft, 2.6 GiB: evaluate download aircraft"

ABOUT = Official("aircraft", "FGVC-Aircraft", metric="mean_per_class", revision="2013b, variants")
PARTS = {"train": "trainval", "test": "test"}


def download(where: Path) -> None:
    """Fetch the data set with torchvision."""
    FGVCAircraft(where, download=True)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, as torchvision lists it; the classes are the variants.

    Raises:
        UserError: when it is not there or not whole, with the command that gets it.
    """
    return opened(ABOUT, where, split, lambda: from_torchvision(FGVCAircraft(where, PARTS[split], loader=Path)))
