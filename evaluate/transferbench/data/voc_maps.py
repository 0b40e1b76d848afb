"""Images with label maps, listed as in VOC: lists in ImageSets/, photos in JPEGImages/, masks in a folder beside."""

from dataclasses import dataclass
from pathlib import Path

from transferbench import runtime
from transferbench.data import LOCAL, DatasetInfo, LabeledImages
from transferbench.data.bundles import Bundle
from transferbench.data.image_pairs import Coding, Pair, labeled
from transferbench.errors import UserError, unknown

SHOWN = 3
"""Missing files that a message names."""


@dataclass(frozen=True)
class VocLists:
    """A data set's lists and masks.

    Attributes:
        year: the folder that holds everything.
        lists: where its lists lie.
        files: by split, what its list may be called.
        masks: the folders that a mask may lie in, the best first.
        zero_is_other: see `LabelMaps`.
        expected: what lies where, for messages.
    """

    name: str
    classes: tuple[str, ...]
    year: str
    lists: str
    files: dict[str, tuple[str, ...]]
    masks: tuple[str, ...]
    zero_is_other: bool = False
    expected: str = ""


def open_listed(about: VocLists, where: Path, split: str) -> LabeledImages:
    """One split, in the order of its list.

    Raises:
        UserError: for an unknown split, or when a list, an image or a mask is missing.
    """
    if split not in about.files:
        raise unknown(f"split of {about.name}", split, about.files)
    bundle = Bundle(_root(about, where), about.expected)
    places = [f"{each}{about.lists}/{name}.txt" for each in _tops(about) for name in about.files[split]]
    file = next((each for each in places if bundle.has(each)), None)
    if file is None:
        raise UserError(f"{bundle.root} has no {' or '.join(dict.fromkeys(places))}. {about.expected}")
    top = file.removesuffix(f"{about.lists}/{Path(file).name}")
    names = _listed(bundle, file)
    every = [_pair(about, bundle, top, name) for name in names]
    for kind, absent in (
        ("images", [p.image for p in every if not bundle.has(p.image)]),
        ("masks", [p.mask for p in every if not bundle.has(p.mask)]),
    ):
        if absent:
            raise UserError(
                f"{len(absent)} of the {len(every)} {kind} that {file} lists are not in {bundle.root} (first: "
                f"{', '.join(absent[:SHOWN])}). {about.expected}"
            )
    info = DatasetInfo(about.name, about.classes, tuple(about.files), None, LOCAL, "miou", "label maps")
    return labeled(info, split, bundle, every, Coding(zero_is_other=about.zero_is_other))


def _tops(about: VocLists) -> tuple[str, ...]:
    return "", f"{about.year}/", f"VOCdevkit/{about.year}/"


def _root(about: VocLists, where: Path) -> Path:
    """Where it lies, else the folder in which Detectron2 has the year."""
    other = runtime.detection_folder(where.parent / about.year)
    return other if not where.exists() and other.exists() else where


def _pair(about: VocLists, bundle: Bundle, top: str, name: str) -> Pair:
    masks = [f"{top}{folder}/{name}.png" for folder in about.masks]
    return Pair(f"{top}JPEGImages/{name}.jpg", next((each for each in masks if bundle.has(each)), masks[0]))


def _listed(bundle: Bundle, file: str) -> list[str]:
    """The names in a list, each once.

    Raises:
        UserError: when it is no text, or lists nothing.
    """
    try:
        lines = bundle.content(file).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{bundle.root}/{file} is no text: {error}.") from None
    names = list(dict.fromkeys(Path(line.split()[0]).stem for line in lines if line.strip()))
    if not names:
        raise UserError(f"{bundle.root}/{file} lists no images. Expected one name a line.")
    return names
