"""Images laid out as SPLIT/CLASS/IMAGE, in a folder or in a zip: what is there, and how to read one."""

import io
import os
import re
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from transferbench.errors import UserError

SPLITS = ("train", "val", "test")
WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


class ImageEntry(NamedTuple):
    """One image: its path below the split's folder, size in bytes, and CRC where the container holds one."""

    name: str
    size: int
    crc: int = 0


@dataclass(frozen=True)
class FolderTree:
    """Images in a folder."""

    root: Path

    def classes(self, split: str) -> set[str]:
        """The class folders of a split that hold an image."""
        folder = self.root / split
        found = [entry.name for entry in os.scandir(folder) if entry.is_dir()] if folder.is_dir() else []
        return {name for name in found if any(files for _, files in _images_below(folder / name))}

    def entries(self, split: str) -> list[ImageEntry]:
        """The images in class folders of a split, sorted by path."""
        folder = self.root / split
        return sorted(
            ImageEntry((parent / file).relative_to(folder).as_posix(), (parent / file).stat().st_size)
            for name in self.classes(split)
            for parent, files in _images_below(folder / name)
            for file in files
        )

    def reader(self, split: str, names: list[str]) -> "FileReader":
        """A function that opens image i, in any process."""
        return FileReader(self.root / split, tuple(names))


@dataclass(frozen=True)
class FileReader:
    """Opens the i-th of some files."""

    root: Path
    names: tuple[str, ...]

    def __call__(self, index: int) -> Image.Image:
        """Image `index`, opened and not decoded; the file is closed."""
        return Image.open(io.BytesIO((self.root / self.names[index]).read_bytes()))


@dataclass(frozen=True)
class ZipTree:
    """Images in a zip, at its top or inside one folder.

    Raises:
        UserError: when the file is no whole zip, or is encrypted or compressed in a way other than deflate.
    """

    path: Path

    def classes(self, split: str) -> set[str]:
        """The class folders of a split that hold an image."""
        return {name.partition("/")[0] for name in self._members[split]}

    def entries(self, split: str) -> list[ImageEntry]:
        """The images in class folders of a split, sorted by path."""
        return sorted(ImageEntry(name, info.file_size, info.CRC) for name, info in self._members[split].items())

    def reader(self, split: str, names: list[str]) -> "MemberReader":
        """A function that opens image i, in any process."""
        members = self._members[split]
        return MemberReader(self.path, tuple(ZipMember.of(members[name]) for name in names))

    @cached_property
    def _members(self) -> dict[str, dict[str, zipfile.ZipInfo]]:
        """Split -> path below it -> member. A folder around everything is looked into when no split is at the top."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                images = [info for info in archive.infolist() if is_image(info.filename.rpartition("/")[2])]
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{self.path} cannot be read as a zip ({error}). Download or pack it again.") from None
        unreadable = [i for i in images if i.flag_bits & 1 or i.compress_type not in (0, zipfile.ZIP_DEFLATED)]
        if unreadable:
            raise UserError(
                f"{self.path}: {len(unreadable)} images (first: {unreadable[0].filename}) are encrypted or neither "
                "stored nor deflated. Pack the zip again without a password, with plain `zip -r`."
            )
        return _by_split(images, 0) or _by_split(images, 1) or defaultdict(dict)


Tree = FolderTree | ZipTree


class ZipMember(NamedTuple):
    """Where a zip member lies and what it must unpack to."""

    offset: int
    stored: int
    deflated: bool
    crc: int

    @classmethod
    def of(cls, info: zipfile.ZipInfo) -> "ZipMember":
        """What a zip's directory says of a member."""
        return cls(info.header_offset, info.compress_size, info.compress_type == zipfile.ZIP_DEFLATED, info.CRC)


@dataclass(frozen=True)
class MemberReader:
    """Opens the i-th of some zip members. Each call opens the file for itself: processes share no file offset."""

    path: Path
    members: tuple[ZipMember, ...]

    def __call__(self, index: int) -> Image.Image:
        """Image `index`, opened and not decoded."""
        return Image.open(io.BytesIO(self._unpacked(self.members[index])))

    def _unpacked(self, member: ZipMember) -> bytes:
        with self.path.open("rb") as file:
            file.seek(member.offset)
            header = file.read(30)  # PKWARE APPNOTE 4.3.7: the lengths of name and extra field close the fixed part
            if len(header) < 30 or not header.startswith(b"PK\3\4"):
                raise OSError("the zip has changed since it was opened, or is damaged here")
            file.seek(sum(struct.unpack("<26x2H", header)), os.SEEK_CUR)
            content = file.read(member.stored)
        try:
            content = zlib.decompress(content, -15) if member.deflated else content
        except zlib.error as error:
            raise OSError(f"damaged in the zip: {error}") from None
        if zlib.crc32(content) != member.crc:
            raise OSError("damaged in the zip: the checksum does not match")
        return content


def files_by_split(where: Path, suffix: str) -> dict[str, list[Path]]:
    """The files in a folder or one below it that have a split's name in theirs, else in their folder's, sorted."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted([*where.glob(f"*{suffix}"), *where.glob(f"*/*{suffix}")]):
        for text in (path.stem, path.parent.name if path.parent != where else ""):
            if split := split_of(text):
                found[split].append(path)
                break
    return {split: found[split] for split in SPLITS if split in found}


def split_of(text: str) -> str | None:
    """The split that some word in a name stands for."""
    return next((WORDS[word] for word in re.findall("[a-z]+", text.lower()) if word in WORDS), None)


def is_image(file: str) -> bool:
    """Whether a file of that name is an image that can be read."""
    return file.lower().endswith(SUFFIXES) and not file.startswith(".")


def _images_below(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder at or below `folder` that holds images, with their names."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        if images := [file for file in files if is_image(file)]:
            yield Path(parent), images


def _by_split(images: list[zipfile.ZipInfo], depth: int) -> dict[str, dict[str, zipfile.ZipInfo]]:
    """Images as split -> path below it -> member, where the split is the path's part number `depth`."""
    found: dict[str, dict[str, zipfile.ZipInfo]] = defaultdict(dict)
    for info in images:
        *above, rest = info.filename.split("/", depth + 1)
        if len(above) > depth and above[depth] in SPLITS and "/" in rest and "__MACOSX" not in above:
            found[above[depth]][rest] = info
    return found
