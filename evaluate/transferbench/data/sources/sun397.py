"""SUN397 (Xiao et al., 2010), partition 1: 50 training and 50 test photos of each of 397 scenes."""

from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.files import Listing, Official, opened

HELP = "SUN397: download it by hand; DATA/sun397 holds SUN397/ and Partitions/ as their authors packed them"

ABOUT = Official(
    "sun397",
    "SUN397",
    revision="partition 1",
    expected="SUN397/ from SUN397.tar.gz and the lists of Partitions.zip in Partitions/ (Training_01.txt, "
    "Testing_01.txt, ClassName.txt)",
)
LISTS = {"train": "Training_01.txt", "test": "Testing_01.txt"}


def open_split(where: Path, split: str) -> LabeledImages:
    """One split of the first of the ten official partitions.

    Raises:
        UserError: when it is not there or not whole, with what is expected.
    """
    return opened(ABOUT, where, split, lambda: _listed(where, LISTS[split]))


def _listed(where: Path, name: str) -> Listing:
    """A line is `/a/abbey/sun_abc.jpg`, and the class the path above the file."""
    classes = (where / "Partitions" / "ClassName.txt").read_text().split()
    number = {path: label for label, path in enumerate(classes)}
    lines = (where / "Partitions" / name).read_text().split()
    labels = [number[line.rpartition("/")[0]] for line in lines]
    return Listing([where / "SUN397" / line.strip("/") for line in lines], labels, [path[3:] for path in classes])
