"""ImageNet-100: the 100 classes that CMC (Tian et al., 2020) drew from ImageNet and most papers since have used.

The list of classes is `imagenet100.txt` of that paper's repository (BSD 2-clause), byte for byte.
"""

from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.files import Official, opened
from transferbench.data.sources import imagenet
from transferbench.data.subsets import SPLITS

HELP = "ImageNet-100: found in DATA/imagenet by its list of classes, or in DATA/imagenet100 alone"

ABOUT = Official(
    "imagenet100",
    "ImageNet-100",
    splits=("train", "val"),
    revision="CMC's classes",
    expected="train/WNID/*.JPEG and val/WNID/*.JPEG of the 100 classes, or all of ImageNet in imagenet/ beside it",
)


def classes() -> list[str]:
    """The WordNet ids of the 100 classes in alphabetical order."""
    return sorted((SPLITS / "imagenet100.txt").read_text().split())


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, from a folder of these classes or more, else from ImageNet beside it.

    Raises:
        UserError: when neither is there or whole, with what is expected.
    """
    place = where if where.is_dir() else where.with_name("imagenet")
    return opened(ABOUT, place, split, lambda: imagenet.listed(place, split, classes()))
