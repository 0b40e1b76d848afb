"""What names of files say of splits and images, and images laid out as SPLIT/CLASS/IMAGE in a folder."""

import os
import re
import stat
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from transferbench.data import decoding
from transferbench.errors import UserError

SPLITS = ("train", "val", "test")
WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
PART = re.compile(r"(\d+)-of-(\d+)")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
UNPACKED = (".bmp", ".ppm", ".pgm", ".tif", ".tiff")
"""Of these, formats whose size in bytes follows from width and height: it does not tell one image from another."""


class ImageEntry(NamedTuple):
    """One image: its path below the split's folder, its size in bytes, and a CRC of its content.

    The CRC is 0 where the container holds none, unless the size tells too little (`UNPACKED`).
    """

    name: str
    size: int
    crc: int = 0


@dataclass(frozen=True)
class FolderTree:
    """Images in a folder. What is hidden (`.ipynb_checkpoints`) is passed over.

    Raises:
        UserError: naming two folders for one split, a link that leads nowhere or back to where it lies, or what is no
            file.
    """

    root: Path

    def classes(self, split: str) -> set[str]:
        """The class folders of a split that hold an image."""
        return self._classes(self._folders[split]) if split in self._folders else set()

    def has_loose(self, split: str) -> bool:
        """Whether images lie in the folder of a split itself."""
        return any(is_image(entry.name) for entry in _visible(self.root / self._folders[split]))

    def entries(self, split: str) -> list[ImageEntry]:
        """The images in class folders of a split, sorted by path."""
        folder = self.root / self._folders[split]
        return sorted(
            ImageEntry(path.relative_to(folder).as_posix(), _file_size(path), crc_of(path))
            for name in self.classes(split)
            for path in images_below(folder / name, (self.root, folder))
        )

    def reader(self, split: str, names: list[str]) -> "FileReader":
        """A function that opens image i, in any process."""
        return FileReader(self.root / self._folders[split], tuple(names))

    @cached_property
    def _folders(self) -> dict[str, str]:
        """The folder of each split that has images."""
        named = [entry.name for entry in _visible(self.root) if entry.name.lower() in WORDS and _is_folder(entry)]
        return one_each((WORDS[name.lower()], name) for name in sorted(named) if self._classes(name))

    def _classes(self, folder: str) -> set[str]:
        above = self.root / folder
        folders = [entry.name for entry in _visible(above) if _is_folder(entry)]
        return {name for name in folders if any(images_below(above / name, (self.root, above)))}


@dataclass(frozen=True)
class FileReader:
    """Opens the i-th of some files."""

    root: Path
    names: tuple[str, ...]

    def __call__(self, index: int) -> Image.Image:
        """Image `index`, opened and not decoded; the file is closed."""
        return decoding.opened((self.root / self.names[index]).read_bytes())


def files_by_split(where: Path, suffix: str) -> dict[str, list[Path]]:
    """The files in a folder or one below it that have a split's name in theirs, else in their folder's, sorted.

    Raises:
        UserError: naming the folders where files of one split, or files that are named by split, lie in several: they
            are several data sets, such as the configurations of one on the hub.
    """
    by_split: dict[str, list[Path]] = defaultdict(list)
    for path in sorted([*where.glob(f"*{suffix}"), *where.glob(f"*/*{suffix}")]):
        inside = path.parent.name if path.parent != where else ""
        if is_hidden(path.name) or is_hidden(inside):
            continue
        named = splits_of(path.stem) or splits_of(inside)
        if len(set(named)) > 1:
            raise UserError(
                f"{path} is named for several splits ({', '.join(dict.fromkeys(named))}). Expected one: rename it by "
                "what is in it, or move it away."
            )
        if named:
            by_split[named[0]].append(path)
    folders = {path.parent for paths in by_split.values() for path in paths}
    sets = [folder for folder in folders if folder == where or not split_of(folder.name)]
    several = next((kept for paths in by_split.values() if len(kept := {path.parent for path in paths}) > 1), sets)
    if len(several) > 1:
        named = " and ".join(str(folder) for folder in sorted(several))
        raise UserError(
            f"{named} hold {suffix} files of different data sets, or of parts of one. Expected one data set in {where} "
            "and all files of a split in one folder. Name the folder that is meant with --data, or move files together."
        )
    for paths in by_split.values():
        _require_series(paths)
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _require_series(paths: list[Path]) -> None:
    """Refuse files of a split that say of how many they are one, as `0-of-2`, and are not all of one series."""
    parts = {path: match for path in paths if (match := PART.search(path.stem))}
    series = sorted({f"{path.stem[: at.start()]}*-of-{at[2]}" for path, at in parts.items()})
    others = [path.stem for path in paths if path not in parts] if parts else []
    if len(series + others) > 1:
        raise UserError(
            f"{paths[0].parent} holds {' and '.join((series + others)[:4])}: files of different data sets, or of one "
            "packed twice. Expected one: move the others away."
        )
    numbers = sorted(int(at[1]) for at in parts.values())
    count = int(next(iter(parts.values()))[2]) if parts else 0
    if parts and numbers not in (list(range(count)), list(range(1, count + 1))):
        raise UserError(
            f"{paths[0].parent} holds number {', '.join(map(str, numbers[:8]))}{' ...' * (len(numbers) > 8)} of the "
            f"{count} files {series[0]}. Expected all, each once: fetch those that are missing, or rename the files "
            "where only these are meant."
        )


def split_of(text: str) -> str | None:
    """The split that some word in a name stands for, the first of several."""
    return next(iter(splits_of(text)), None)


def splits_of(text: str) -> list[str]:
    """The splits that the words in a name stand for."""
    return [WORDS[word] for word in re.findall("[a-z]+", text.lower()) if word in WORDS]


def is_image(file: str) -> bool:
    """Whether a file of that name is an image that can be read."""
    return file.lower().endswith(SUFFIXES) and not file.startswith(".")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is hidden, as what notebooks, caches and other systems leave is."""
    return name.startswith(".") and name not in (".", "..")


def is_visible_image(path: str) -> bool:
    """Whether a path in an archive is an image that lies in no hidden folder."""
    *folders, file = path.split("/")
    return is_image(file) and not any(is_hidden(folder) or folder == "__MACOSX" for folder in folders)


def one_each(places: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Split -> what it is found in, which must be one."""
    chosen: dict[str, str] = {}
    for split, name in places:
        if chosen.setdefault(split, name) != name:
            raise UserError(
                f"'{chosen[split]}' and '{name}' both stand for {split}. Expected one: rename or remove the other."
            )
    return chosen


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(folder) if not is_hidden(entry.name)]
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read: {error.strerror}.") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one."""
    return stat.S_ISDIR(_status(entry.path).st_mode) if entry.is_symlink() else entry.is_dir()


def _status(path: str | Path) -> os.stat_result:
    """What is at the end of a path."""
    try:
        return os.stat(path)  # noqa: PTH116  (a million times)
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114
            raise UserError(
                f"{path} is a link to {os.readlink(path)}, which leads to nothing that can be read "  # noqa: PTH115
                f"({error.strerror}). Mend or remove it."
            ) from None
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _file_size(path: Path) -> int:
    status = _status(path)
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} has the name of an image, and is no file. Rename or remove it.")
    return status.st_size


def crc_of(path: Path) -> int:
    """A checksum of a file whose size tells too little (`UNPACKED`); of any other 0.

    Raises:
        UserError: when it cannot be read.
    """
    if path.suffix.lower() not in UNPACKED:
        return 0
    try:
        return zlib.crc32(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def images_below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The images at or below `folder`, through links too; `above` are the folders that it lies in."""
    left = [(folder, above)]
    while left:
        folder, above = left.pop()
        if folder.is_symlink() and (back := next((each for each in above if each.samefile(folder)), None)):
            raise UserError(
                f"{folder} is a link back to {back}, in which it lies: its images would be found without end. Remove "
                "the link."
            )
        for entry in _visible(folder):
            path = folder / entry.name
            if _is_folder(entry):
                left.append((path, (*above, folder)))
            elif is_image(entry.name):
                yield path
