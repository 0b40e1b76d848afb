"""Places205 (Zhou et al., 2014): 2,448,873 training and 20,500 validation photos of 205 scenes, 256x256 pixels."""

from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.files import Listing, Official, opened

HELP = "Places205: on request from its authors; DATA/places205 holds the two archives, unpacked"

IMAGES = "data/vision/torralba/deeplearning/images256"
ABOUT = Official(
    "places205",
    "Places205",
    splits=("train", "val"),
    expected=f"trainvalsplit_places205/ with train_places205.csv and val_places205.csv, and {IMAGES}/, as its authors "
    "packed them",
)


def open_split(where: Path, split: str) -> LabeledImages:
    """One split, from the official list of it.

    Raises:
        UserError: when it is not there or not whole, with what is expected.
    """
    return opened(ABOUT, where, split, lambda: _listed(where, split))


def _listed(where: Path, split: str) -> Listing:
    """A line is `a/abbey/gsun_x.jpg 0`."""
    lines = (where / "trainvalsplit_places205" / f"{split}_places205.csv").read_text().splitlines()
    pairs = [line.rsplit(maxsplit=1) for line in lines if line.strip()]
    labels = [int(label) for _, label in pairs]
    names = {label: path.rpartition("/")[0] for (path, _), label in zip(pairs, labels, strict=True)}
    return Listing([where / IMAGES / path for path, _ in pairs], labels, [names[i] for i in range(len(names))])
