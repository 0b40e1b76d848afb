"""PASCAL VOC objects (Everingham et al.): trained on trainval 2007 and 2012, tested on test 2007; 20 classes.

Years lie in `VOC2007` and `VOC2012`, or in `VOCdevkit/`; by its path any folder or zip with Annotations, ImageSets/Main
and JPEGImages is opened too, with the classes that its training part names. Corners are taken as Detectron2 takes them:
1 off the upper left ones, so that they count from 0 and the lower right ones lie outside
(docs/protocols.md#voc-precision). Every annotation is checked before anything runs.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transferbench import runtime
from transferbench.data import DatasetInfo, LabeledImages, voc_format
from transferbench.data.annotations import Annotated, Annotation
from transferbench.data.bundles import VOC, Bundle
from transferbench.data.extents import require_pixels
from transferbench.data.sources.voc07 import CLASSES
from transferbench.data.trees import SUFFIXES
from transferbench.data.voc_format import VocObject
from transferbench.errors import UserError, unknown

HELP = "VOC 2007 and 2012: download them by hand; DATA/voc0712 or DETECTRON2_DATASETS holds VOC2007/ and VOC2012/"

LAYOUT = "Expected VOC2007/ and VOC2012/ with Annotations/, ImageSets/Main/ and JPEGImages/."
OFFICIAL = {"train": (("VOC2007", "trainval"), ("VOC2012", "trainval")), "test": (("VOC2007", "test"),)}
PARTS = {"train": ("trainval", "train"), "test": ("test", "val")}
"""Lists of a folder of one's own that a split may be, the best first; where `val` is judged, `trainval` holds it."""

ENDINGS = tuple(end for suffix in SUFFIXES for end in (suffix, suffix.upper()))

Part = tuple[str, str]
"""A folder in the bundle and the list in it."""


class Image(NamedTuple):
    """One annotated image: its path, height and width, and objects as (class, corners, difficult)."""

    path: str
    size: tuple[int, int]
    objects: list[VocObject]


def open_split(where: Path, split: str) -> LabeledImages:
    """One split with its objects.

    Raises:
        UserError: when a list, an annotation or an image is missing or cannot be read.
    """
    if split not in OFFICIAL:
        raise unknown("split", split, OFFICIAL)
    root = where if where.exists() else runtime.detection_folder(where).parent
    if not where.exists() and not (root / "VOC2007").is_dir():
        raise UserError(f"There is no folder or zip at {where}.\n{LAYOUT}")
    bundle = Bundle(root)
    parts, is_official = _parts(bundle, split)
    notes: list[str] = []
    listed = [(each, name) for each in parts for name in _listed(bundle, *each, notes)]
    images = [_image(bundle, folder, name) for (folder, _), name in listed]
    classes = CLASSES if is_official else _classes(bundle)
    if strange := sorted({name for image in images for name, *_ in image.objects} - set(classes)):
        raise UserError(
            f"{bundle.root}/{split} has objects of the class(es) {', '.join(strange)}, which are not of its set."
        )
    objects = [tuple(_annotation(each, classes) for each in image.objects) for image in images]
    named = {each: _part(bundle, *each) for each in parts}
    ids = [name for _, name in listed]
    if len(set(ids)) < len(ids):  # years of one's own may number their images alike
        ids = [f"{folder}/{name}" for (folder, _), name in listed]
    annotated = Annotated(
        objects,
        ids,
        [each.size for each in images],
        tuple(range(1, len(classes) + 1)),
        "voc2012" if all("2012" in folder for folder, _ in parts) else "voc2007",
        [named[each] for each, _ in listed],
    )
    require_pixels(annotated, f"{bundle.root}/{split}")
    names = [image.path for image in images]
    marks = (f"{name}\0{bundle.mark(name)}\0{each}\n" for name, each in zip(names, objects, strict=True))
    name = "voc0712" if is_official else bundle.name
    return LabeledImages(
        info=DatasetInfo(name, tuple(classes), tuple(OFFICIAL), None, "local", "box_ap", "boxes"),
        split=split,
        labels=annotated.first_labels(),
        read=bundle.reader(names),
        names=names,
        fingerprint=hashlib.sha256("".join(marks).encode()).hexdigest(),
        annotated=annotated,
        notes=tuple(notes),
    )


def _part(bundle: Bundle, folder: str, part: str) -> str:
    """What Detectron2 calls a list of a year; empty for folders of one's own."""
    year = (bundle.root / folder).resolve().name.removeprefix("VOC")
    return f"voc_{year}_{part}" if year in ("2007", "2012") else ""


def _parts(bundle: Bundle, split: str) -> tuple[Sequence[Part], bool]:
    """The lists that make up a split, and whether they are the official ones."""
    for inside in ("", "VOCdevkit/"):
        if all(bundle.has(_list(f"{inside}{folder}", part)) for each in OFFICIAL.values() for folder, part in each):
            return [(f"{inside}{folder}", part) for folder, part in OFFICIAL[split]], True
    lists = bundle.matching(VOC)
    folders = sorted({name.partition("ImageSets/")[0].rstrip("/") for name in lists})
    there = {
        part: parts for part in dict.fromkeys(sum(PARTS.values(), ())) if (parts := _holding(bundle, folders, part))
    }
    is_val_judged = "val" in there and "test" not in there
    for part in ("train",) if split == "train" and is_val_judged else PARTS[split]:
        if part in there:
            return there[part], False
    apart = " Where val is judged, those to train on are in train.txt: trainval.txt holds both." * is_val_judged
    raise UserError(
        f"{bundle.root} has no list of images for {split}; found: {', '.join(lists) or 'none'}. {LAYOUT}{apart}"
    )


def _holding(bundle: Bundle, folders: Sequence[str], part: str) -> list[Part]:
    """The folders that have such a list, with it."""
    return [(folder, part) for folder in folders if bundle.has(_list(folder, part))]


def _list(folder: str, part: str) -> str:
    return f"{folder}/ImageSets/Main/{part}.txt".lstrip("/")


def _listed(bundle: Bundle, folder: str, part: str, notes: list[str]) -> list[str]:
    """The names in a list, each once; `notes` says what was there twice.

    Raises:
        UserError: when the list cannot be read.
    """
    try:
        lines = bundle.content(_list(folder, part)).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{bundle.root}/{_list(folder, part)} is no text: {error}.") from None
    named = [line.split()[0] for line in lines if line.strip()]
    names = list(dict.fromkeys(named))
    if repeats := len(named) - len(names):
        notes.append(f"{bundle.root}/{_list(folder, part)}: {repeats} of {len(named)} names repeat another, left out.")
    return names


def _image(bundle: Bundle, folder: str, name: str) -> Image:
    file, path = f"{folder}/Annotations/{name}.xml".lstrip("/"), _path(bundle, folder, name)
    try:
        return Image(path, *voc_format.read(bundle.content(file)))
    except ValueError as error:
        raise UserError(f"{bundle.root}/{file} cannot be read as an annotation of VOC: {error}.") from None


def _path(bundle: Bundle, folder: str, name: str) -> str:
    """Where an image lies: a `.jpg` as in VOC, else the one file of its name."""
    path = f"{folder}/JPEGImages/{name}".lstrip("/")
    if bundle.has(f"{path}.jpg"):
        return f"{path}.jpg"
    there = [f"{path}{end}" for end in ENDINGS if bundle.has(f"{path}{end}")]
    if not there:
        raise UserError(f"The image {path}.jpg is not in {bundle.root}, nor in another format. {LAYOUT}")
    if len(there) > 1:
        raise UserError(f"{bundle.root} has {' and '.join(there)} for one name. Expected one image; remove the others.")
    return there[0]


def _classes(bundle: Bundle) -> tuple[str, ...]:
    parts, _ = _parts(bundle, "train")
    listed = [(folder, each) for folder, part in parts for each in _listed(bundle, folder, part, [])]
    names = {name for folder, each in listed for name, *_ in _image(bundle, folder, each).objects}
    return CLASSES if names <= set(CLASSES) else tuple(sorted(names))


def _annotation(voc_object: VocObject, classes: Sequence[str]) -> Annotation:
    name, (x0, y0, x1, y1), difficult = voc_object
    return Annotation((x0, y0, x1 - x0, y1 - y0), classes.index(name), difficult=difficult)
