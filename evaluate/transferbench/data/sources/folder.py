"""A folder or zip of your images, one sub-folder a class: ROOT/train/CLASS/* and ROOT/val/CLASS/* or ROOT/test/CLASS/*.

The folders may be called `valid` or `validation` and `training` too. Classes are numbered in alphabetical order, images
sorted by path; files that are no images are passed over, and so are hidden folders (`.ipynb_checkpoints`). The
fingerprint is a sha256 over the sorted paths with each file's size, and its CRC too in a zip or where its size tells
too little (BMP, PPM, TIFF); times do not enter it.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt64

from transferbench.data import LOOKED_AT, DatasetInfo, LabeledImages
from transferbench.data.labels import differing
from transferbench.data.trees import SPLITS, FolderTree, ImageEntry, is_image
from transferbench.data.zips import Tree, ZipTree
from transferbench.errors import UserError, unknown

HELP = "your own: give the path of a folder or zip that holds train/CLASS/* and val/CLASS/* or test/CLASS/*"

LAYOUT = "Expected ROOT/train/CLASS/IMAGE and ROOT/val/CLASS/IMAGE or ROOT/test/CLASS/IMAGE, in a folder or a zip."


def open_split(where: Path, split: str) -> LabeledImages:
    """One split of the images at `where`; the data set is called by the folder's or zip's name.

    Raises:
        UserError: when there is no such split in this layout, the splits' classes differ, or a first image is none.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if not where.exists():
        raise UserError(f"There is no folder or zip at {where}. {LAYOUT}")
    tree = FolderTree(where) if where.is_dir() else ZipTree(where)
    classes = {name: names for name in SPLITS if (names := tree.classes(name))}
    if split not in classes:
        raise UserError(f"{where} has no images in {split}/CLASS/; {_seen(where, classes)}. {LAYOUT}")
    others = [classes[name] for name in classes if name != "train"]
    if split == "train" and others and classes["train"] not in others:
        raise differing(where, {name: sorted(present) for name, present in classes.items()})
    info = DatasetInfo(
        name=where.resolve().name if where.is_dir() else where.stem,
        classes=tuple(sorted(classes[split])),
        splits=tuple(classes),
        image_size=None,
        revision="local",
    )
    images = _labeled(tree, info, split)
    if split == "val" and "test" not in classes and _has_loose_test(where):
        images = replace(
            images, notes=(f"{info.name}: the images in test/ have no folders of classes: val is judged.",)
        )
    return images


def _has_loose_test(where: Path) -> bool:
    """Whether images lie in test/ itself, as they do where labels are withheld."""
    if where.is_dir():
        names = [f"test/{path.name}" for path in (where / "test").glob("*")]
    else:
        with zipfile.ZipFile(where) as archive:
            names = archive.namelist()
    return any(Path(name).parent.name == "test" and is_image(Path(name).name) for name in names)


def _labeled(tree: Tree, info: DatasetInfo, split: str) -> LabeledImages:
    entries = tree.entries(split)
    number = {name: i for i, name in enumerate(info.classes)}
    labels = np.array([number[entry.name.partition("/")[0]] for entry in entries], dtype=np.int64)
    read = tree.reader(split, [entry.name for entry in entries])
    names, mark = [f"{split}/{entry.name}" for entry in entries], fingerprint(entries)
    images = LabeledImages(info, split, labels, read, names, mark, marks=marks(entries))
    sizes = {images.size(i) for i in range(min(LOOKED_AT, len(images)))}
    width, height = sizes.pop()
    return images if sizes or width != height else replace(images, info=replace(info, image_size=width))


def fingerprint(entries: Sequence[ImageEntry]) -> str:
    """A sha256 over paths, sizes and CRCs, in that order."""
    return hashlib.sha256(
        "".join(f"{e.name}\0{e.size}\0{e.crc}\n" for e in entries).encode(errors="surrogateescape")
    ).hexdigest()


def marks(entries: Sequence[ImageEntry]) -> UInt64[np.ndarray, "n"]:
    """Of each file its size in the upper 32 bits and its CRC in the lower."""
    return np.array([(entry.size % 2**32) << 32 | entry.crc for entry in entries], np.uint64)


def _seen(where: Path, classes: dict[str, set[str]]) -> str:
    """What is there instead, in words."""
    if classes:
        return "found " + ", ".join(f"{split}/ with {len(names)} classes" for split, names in classes.items())
    if not where.is_dir():
        return "found no split in the zip"
    return f"found {', '.join(sorted(path.name for path in where.iterdir())[:5]) or 'an empty folder'}"
