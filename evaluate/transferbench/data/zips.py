"""Images laid out as SPLIT/CLASS/IMAGE in a zip, and how one is read."""

import os
import struct
import zipfile
import zlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from transferbench.data import decoding
from transferbench.data.trees import WORDS, FolderTree, ImageEntry, is_visible_image, one_each
from transferbench.errors import UserError

LARGEST = 1 << 30
"""Bytes of an image file in a zip at most."""


UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError)
"""What Python's zipfile raises of damaged bytes."""


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

    def has_loose(self, split: str) -> bool:
        """Whether images lie in a folder of a split itself."""
        folders = (
            PurePosixPath(info.filename).parent.name for info in members(self.path) if is_visible_image(info.filename)
        )
        return any(WORDS.get(name.lower()) == split for name in folders)

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
        images = [info for info in members(self.path) if is_visible_image(info.filename)]
        try:
            return _by_split(images, 0) or _by_split(images, 1) or defaultdict(dict)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None


Tree = FolderTree | ZipTree


def members(path: Path) -> list[zipfile.ZipInfo]:
    """The files in a zip, of which all visible images can be read.

    Raises:
        UserError: when the file is no whole zip, or an image is encrypted or compressed in a way other than deflate.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as a zip ({error}). Download or pack it again.") from None
    images = [info for info in infos if is_visible_image(info.filename)]
    unreadable = [i for i in images if i.flag_bits & 1 or i.compress_type not in (0, zipfile.ZIP_DEFLATED)]
    if unreadable:
        raise UserError(
            f"{path}: {len(unreadable)} images (first: {unreadable[0].filename}) are encrypted or neither "
            "stored nor deflated. Pack the zip again without a password, with plain `zip -r`."
        )
    return infos


class ZipMember(NamedTuple):
    """Where a zip member lies and what it must unpack to."""

    offset: int
    stored: int
    deflated: bool
    crc: int
    size: int

    @classmethod
    def of(cls, info: zipfile.ZipInfo) -> "ZipMember":
        """What a zip's directory says of a member."""
        is_deflated = info.compress_type == zipfile.ZIP_DEFLATED
        return cls(info.header_offset, info.compress_size, is_deflated, info.CRC, info.file_size)


@dataclass(frozen=True)
class MemberReader:
    """Opens the i-th of some zip members. Each call opens the file for itself: processes share no file offset."""

    path: Path
    members: tuple[ZipMember, ...]

    def __call__(self, index: int) -> Image.Image:
        """Image `index`, opened and not decoded."""
        return decoding.opened(self._unpacked(self.members[index]))

    def _unpacked(self, member: ZipMember) -> bytes:
        if max(member.size, member.stored) > LARGEST:
            raise OSError(f"the zip states {member.size:,} bytes, and more than {LARGEST:,} are not unpacked")
        with self.path.open("rb") as file:
            file.seek(member.offset)
            header = file.read(30)  # PKWARE APPNOTE 4.3.7: the lengths of name and extra field close the fixed part
            if len(header) < 30 or not header.startswith(b"PK\3\4"):
                raise OSError("the zip has changed since it was opened, or is damaged here")
            file.seek(sum(struct.unpack("<26x2H", header)), os.SEEK_CUR)
            content = file.read(member.stored)
        try:
            content = zlib.decompressobj(-15).decompress(content, member.size + 1) if member.deflated else content
        except zlib.error as error:
            raise OSError(f"damaged in the zip: {error}") from None
        if len(content) != member.size:
            raise OSError(f"damaged in the zip: it does not unpack to the {member.size:,} bytes that the zip states")
        if zlib.crc32(content) != member.crc:
            raise OSError("damaged in the zip: the checksum does not match")
        return content


def _by_split(images: list[zipfile.ZipInfo], depth: int) -> dict[str, dict[str, zipfile.ZipInfo]]:
    """Images as split -> path below it -> member, where the split is the path's part number `depth`."""
    members: dict[str, dict[str, zipfile.ZipInfo]] = defaultdict(dict)
    places: set[tuple[str, str]] = set()
    for info in images:
        *above, rest = info.filename.removeprefix("./").split("/", depth + 1)
        if len(above) <= depth or above[depth].lower() not in WORDS or "/" not in rest:
            continue
        split = WORDS[above[depth].lower()]
        places.add((split, "/".join(above)))
        if rest in members[split] and len({place for of, place in places if of == split}) == 1:
            raise UserError(f"it holds {info.filename} twice. Pack it again.")
        members[split][rest] = info
    one_each(sorted(places))
    tops = sorted({place.rpartition("/")[0] for _, place in places})
    if len(tops) > 1:
        raise UserError(f"{' and '.join(tops)} hold splits of different data sets. Expected one: pack it alone.")
    return members
