"""Images to pretrain on, which need no labels; what has labels in a known layout is opened with them, as everywhere.

Without labels are a folder or zip of images with any nesting, a `.txt` file with a path on each line, shards without
classes, rows without a column of labels, and several data sets at once. Judging never opens these: there, a layout
without labels is an error.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from transferbench import data as data_sets
from transferbench import plugins
from transferbench.data import HUB, LabeledImages, require_known
from transferbench.data.bundles import layout
from transferbench.data.trees import FolderTree, files_by_split
from transferbench.data.unlabeled import files, listing, rows, shards
from transferbench.data.unlabeled.joined import joined
from transferbench.data.zips import Tree, ZipTree
from transferbench.errors import UserError, require_of_hub

EXPECTED = (
    "Expected a folder or zip of images, a .txt file with the path of one on each line, or .tar or .parquet files that "
    "hold some."
)


def open_split(data: str | Sequence[str], split: str, root: Path) -> LabeledImages:
    """One split of data to pretrain on; of data without labels there is `train` alone, with no classes.

    Args:
        data: as `transferbench.data.open_split` takes it, or what holds images without labels, or several of those,
            whose labels are left out.
        split: `train`, or one that the data have.
        root: the folder of data sets that are named.

    Raises:
        UserError: when there is no such data set here, or it holds no images.
    """
    if not isinstance(data, str):
        return _together(data, split, root)
    require_known(data)
    found = _without_labels(data) if split == "train" else None
    return data_sets.open_split(data, split, root) if found is None else found


def _together(data: Sequence[str], split: str, root: Path) -> LabeledImages:
    if not data:
        raise UserError("No data are named. Expected the name or path of some.")
    if twice := [each for each in dict.fromkeys(data) if list(data).count(each) > 1]:
        raise UserError(f"{twice[0]} is named twice. Expected each of the data once.")
    return joined([open_split(each, split, root) for each in data])


def _without_labels(data: str) -> LabeledImages | None:
    """The images, if the data are of a kind without labels."""
    if data.startswith(HUB):
        require_of_hub(data, "hf")
        return rows.of_hub(Path(data.removeprefix(HUB)))
    path = Path(data).expanduser()
    if plugins.is_outside(data) or not ("/" in data or path.suffix == ".zip"):
        return None
    if not path.exists():
        raise UserError(f"There is nothing at {path}. {EXPECTED}")
    return _in_file(path) if path.is_file() else _in_folder(path)


def _in_file(path: Path) -> LabeledImages | None:
    match path.suffix.lower():
        case ".txt":
            return listing.opened(path)
        case ".tar":
            return shards.opened(path.stem, [path])
        case ".parquet":
            return rows.opened(path.stem, [path])
    if path.suffix != ".zip" and not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no zip, and no file of another kind that holds images. {EXPECTED}")
    return None if layout(path) or _has_classes(ZipTree(path)) else files.in_zip(path)


def _in_folder(path: Path) -> LabeledImages | None:
    name = path.resolve().name
    if by_split := files_by_split(path, ".parquet"):
        found = by_split.get("train", [])
        return None if not found or rows.has_labels(found[0]) else rows.opened(name, found)
    if by_split := files_by_split(path, ".tar"):
        found = by_split.get("train", [])
        return None if not found or shards.have_labels(found) else shards.opened(name, found)
    if layout(path) or _has_classes(FolderTree(path)):
        return None
    found = files.below(path)
    match found.packed_kinds:
        case []:
            return files.in_folder(path, found)
        case [".tar"]:
            return shards.opened(name, [path / each for each in found.packed], path)
        case [".parquet"]:
            return rows.opened(name, [path / each for each in found.packed])
    raise UserError(
        f"{path} holds {found.told}. Expected files of one kind: name each kind's folder, with --data before each."
    )


def _has_classes(tree: Tree) -> bool:
    """Whether the training images lie in folders of classes: not where some lie beside them and none is to judge on."""
    if not tree.classes("train"):
        return False
    return bool(tree.classes("val") or tree.classes("test")) or not tree.has_loose("train")
