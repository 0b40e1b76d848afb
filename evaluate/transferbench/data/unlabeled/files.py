"""Images in a folder or a zip with any nesting: all, sorted by path, or those in `train/` where there is one.

What is no image, what is hidden and links that lead nowhere, back, or to a folder that is there already are passed
over and counted. The fingerprint is that of labeled folders (`sources/folder.py`).
"""

import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transferbench.data import LabeledImages
from transferbench.data.sources.folder import fingerprint, marks
from transferbench.data.trees import WORDS, FileReader, ImageEntry, crc_of, is_hidden, is_image, is_visible_image
from transferbench.data.unlabeled.bare import bare
from transferbench.data.zips import MemberReader, ZipMember, members
from transferbench.errors import UserError

PACKED = (".parquet", ".tar")
"""What may hold images itself."""


@dataclass
class Contents:
    """Paths below a folder or in a zip, with slashes, by what lies there."""

    images: list[str] = field(default_factory=list)
    packed: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    @property
    def packed_kinds(self) -> list[str]:
        """The kinds of packed files that are taken, and `images` where there are some beside them."""
        kinds = sorted({Path(name).suffix.lower() for name in self.packed})
        return [*kinds, "images"] if kinds and self.images else kinds

    @property
    def told(self) -> str:
        """What there is, in words."""
        counts = {"images": len(self.images)}
        counts |= {f"{kind} files": sum(name.lower().endswith(kind) for name in self.packed) for kind in PACKED}
        return " and ".join(f"{count} {kind}" for kind, count in counts.items() if count)

    def notes(self, name: str) -> list[str]:
        """What was passed over, in a line."""
        kinds = (
            (self.others, "files that are no images"),
            (self.hidden, "hidden files or folders"),
            (self.links, "links to what is there already, or to nothing"),
            (self.outside, "images outside of train/"),
        )
        said = [f"{len(paths)} {kind} (first: {min(paths)})" for paths, kind in kinds if paths]
        return [f"{name}: passed over {', '.join(said)}."] if said else []


def below(root: Path) -> Contents:
    """What lies below a folder, each folder looked into once however many links lead to it.

    Raises:
        UserError: naming a folder that cannot be read.
    """
    found = Contents()
    seen = {_identity(str(each)) for each in root.resolve().parents}
    folders, linked = [""], list[str]()
    while folders or linked:
        if not folders:  # what lies below the root itself comes before what links lead to
            linked.sort(reverse=True)
        folder = folders.pop() if folders else linked.pop()
        if (identity := _identity(os.path.join(root, folder))) in seen:  # noqa: PTH118  (a million times)
            found.links.append(folder)
            continue
        seen.add(identity)
        for entry in _entries(root / folder):
            name = f"{folder}/{entry.name}".lstrip("/")
            if is_hidden(entry.name):
                found.hidden.append(name)
            elif _leads(entry.is_dir):
                (linked if entry.is_symlink() else folders).append(name)
            elif _leads(entry.is_file):
                _kind(found, entry.name).append(name)
            else:
                (found.links if entry.is_symlink() else found.others).append(name)
    return found


def in_folder(root: Path, found: Contents) -> LabeledImages:
    """The images below a folder.

    Raises:
        UserError: when there are none, or only folders of other splits than `train`.
    """
    names = _of_training(root, found)
    entries = [ImageEntry(name, _size(root / name), crc_of(root / name)) for name in names]
    reader, name = FileReader(root, tuple(names)), root.resolve().name
    return bare(name, names, reader, fingerprint(entries), marks(entries), found.notes(name))


def in_zip(path: Path) -> LabeledImages:
    """The images in a zip.

    Raises:
        UserError: when it cannot be read, holds no images, or only folders of other splits than `train`.
    """
    found, infos = Contents(), dict[str, zipfile.ZipInfo]()
    for info in members(path):
        name = info.filename.removeprefix("./")
        if is_visible_image(name):
            if name in infos:
                raise UserError(f"{path}: it holds {name} twice. Pack it again.")
            infos[name] = info
            found.images.append(name)
        else:
            parts = name.split("/")
            is_seen = not any(is_hidden(part) or part == "__MACOSX" for part in parts)
            (found.others if is_seen else found.hidden).append(name)
    names = _of_training(path, found)
    reader = MemberReader(path, tuple(ZipMember.of(infos[name]) for name in names))
    entries = [ImageEntry(name, infos[name].file_size, infos[name].CRC) for name in names]
    return bare(path.stem, names, reader, fingerprint(entries), marks(entries), found.notes(path.stem))


def _of_training(where: Path, found: Contents) -> list[str]:
    """The names of the images to train on, sorted: those in `train/` where folders are named for splits."""
    if not found.images:
        seen = f" It holds {min(found.others)}, which is none." if found.others else ""
        raise UserError(f"There is no image in {where}.{seen} Expected some, in folders of any name.")
    around = {name.partition("/")[0] if "/" in name else "" for name in found.images}
    is_split = any(top.lower() in WORDS for top in around)
    depth = 1 if len(around) == 1 and "" not in around and not is_split else 0
    parts = [name.split("/")[depth:-1] for name in found.images]
    splits = [WORDS.get(folders[0].lower()) if folders else None for folders in parts]
    if not any(splits):
        return sorted(found.images)
    kept = sorted(name for name, split in zip(found.images, splits, strict=True) if split == "train")
    if not kept:
        named = sorted({folders[0] for folders, split in zip(parts, splits, strict=True) if split})
        raise UserError(
            f"{where} holds {', '.join(f'{name}/' for name in named)} and no train/ with images. Expected train/ "
            "beside it, which alone is trained on. Name the folder with these images, or rename what is no split."
        )
    found.outside += set(found.images) - set(kept)
    return kept


def _kind(found: Contents, file: str) -> list[str]:
    if is_image(file):
        return found.images
    return found.packed if file.lower().endswith(PACKED) else found.others


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read: {error.strerror}.") from None


def _leads(to: Callable[[], bool]) -> bool:
    """Whether an entry is, or is a link that leads to, what is asked for; one that leads back to itself is nothing."""
    try:
        return to()
    except OSError:
        return False


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _size(path: Path) -> int:
    try:
        status = os.stat(path)  # noqa: PTH116  (a million times)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
