"""Stanford Cars (Krause et al., 2013): 8,144 training and 8,041 test photos of 196 models."""

from pathlib import Path

from torchvision.datasets import StanfordCars

from transferbench.data import LabeledImages
from transferbench.data.files import Official, from_torchvision, opened

HELP = "Stanford Cars: download it by hand; DATA/cars/stanford_cars holds cars_train, cars_test and the devkit"

ABOUT = Official(
    "cars",
    "Stanford Cars",
    expected="stanford_cars/ with cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat, as its "
    "authors packed them; they no longer host it, so use a mirror",
)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, as torchvision lists it.

    Raises:
        UserError: when it is not there or not whole, with what is expected.
    """
    return opened(ABOUT, where, split, lambda: from_torchvision(StanfordCars(where, split, loader=Path)))
