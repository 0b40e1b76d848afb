"""A folder or a zip as named files: where annotations and images lie together."""

import re
import zipfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from PIL import Image

from transferbench.data.trees import FileReader
from transferbench.data.zips import UNREADABLE, MemberReader, ZipMember
from transferbench.errors import UserError

COCO = re.compile(r"(^|/)(annotations/[^/]+|instances_[^/]*|_annotations\.coco)\.json$")
VOC = re.compile(r"(^|/)ImageSets/Main/[^/]+\.txt$")
LARGEST = 1 << 33
"""Bytes of an annotation file in a zip at most."""
PLACES = {
    COCO: ("instances_*.json", "_annotations.coco.json", "*/instances_*.json", "*/_annotations.coco.json",
           "annotations/*.json", "*/annotations/*.json"),
    VOC: ("ImageSets/Main/*.txt", "*/ImageSets/Main/*.txt", "*/*/ImageSets/Main/*.txt"),
}  # fmt: skip
"""Where in a folder they are looked for: not everywhere, for there may be a million files."""


class Bundle:
    """The files below a folder or in a zip, by their paths with slashes.

    Raises:
        UserError: when there is nothing at `root`, or a file there is no zip.
    """

    def __init__(self, root: Path, expected: str = "") -> None:
        self.root = root
        if not root.exists():
            raise UserError(f"There is no folder or zip at {root}.\n{expected}")

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(self.root) as archive:
                infos = [info for info in archive.infolist() if not info.is_dir()]
        except UNREADABLE as error:
            raise UserError(f"{self.root} cannot be read as a zip ({error}). Download or pack it again.") from None
        return {info.filename: info for info in infos if "__MACOSX" not in info.filename}

    def matching(self, pattern: re.Pattern[str]) -> list[str]:
        """The files whose path fits `COCO` or `VOC`, sorted."""
        if not self.root.is_dir():
            return sorted(name for name in self._members if pattern.search(name))
        paths = {path.relative_to(self.root).as_posix() for place in PLACES[pattern] for path in self.root.glob(place)}
        return sorted(name for name in paths if pattern.search(name))

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        if not self.root.is_dir():
            return name in self._members
        try:
            return (self.root / name).is_file()
        except OSError:  # a name longer than a file's can be
            return False

    def content(self, name: str) -> bytes:
        """What is in a file.

        Raises:
            UserError: when it cannot be read.
        """
        try:
            if self.root.is_dir():
                return (self.root / name).read_bytes()
            with zipfile.ZipFile(self.root) as archive:
                if (stated := archive.getinfo(name).file_size) > LARGEST:
                    raise OSError(f"the zip states {stated:,} bytes, and more than {LARGEST:,} are not unpacked")
                return archive.read(name)
        except (KeyError, *UNREADABLE) as error:
            raise UserError(f"Cannot read {name} in {self.root}: {error}.") from None

    def mark(self, name: str) -> str:
        """A file's size, and in a zip its checksum: what a fingerprint is made of."""
        if self.root.is_dir():
            return str((self.root / name).stat().st_size)
        return f"{self._members[name].file_size} {self._members[name].CRC}"

    def reader(self, names: Sequence[str]) -> Callable[[int], Image.Image]:
        """A function that opens image i, in any process."""
        if self.root.is_dir():
            return FileReader(self.root, tuple(names))
        return MemberReader(self.root, tuple(ZipMember.of(self._members[name]) for name in names))

    @property
    def name(self) -> str:
        """What a data set in it is called."""
        return self.root.resolve().name if self.root.is_dir() else self.root.stem


def layout(where: Path) -> str | None:
    """The source that opens annotations of objects at `where`: `coco`, `voc0712`, or None where there are none."""
    if not where.exists() or (where.is_file() and not zipfile.is_zipfile(where)):
        return None
    bundle = Bundle(where)
    return "coco" if bundle.matching(COCO) else "voc0712" if bundle.matching(VOC) else None
