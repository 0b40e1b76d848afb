"""A folder or a zip as named files: where annotations and images lie together."""

import os
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from PIL import Image

from transferbench.data.trees import WORDS, FileReader, crc_of, images_below, is_hidden, is_visible_image
from transferbench.data.zips import UNREADABLE, MemberReader, ZipMember
from transferbench.errors import UserError

COCO = re.compile(r"(^|/)(annotations/[^/]+|instances_[^/]*|_annotations\.coco)\.json$")
VOC = re.compile(r"(^|/)ImageSets/Main/[^/]+\.txt$")
LARGEST = 1 << 33
"""Bytes of an annotation file in a zip at most."""
TAIL = 64
"""Bytes at the end of a label map that its mark is made of."""
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
        """A file's size, with its checksum in a zip or where the size tells too little: for fingerprints."""
        if self.root.is_dir():
            crc = crc_of(self.root / name)
            return f"{(self.root / name).stat().st_size}{f' {crc}' if crc else ''}"
        return f"{self._members[name].file_size} {self._members[name].CRC}"

    def mask_mark(self, name: str) -> str:
        """The same of a label map, of which masks of one size are common, with a checksum of its end in a folder too.

        A PNG ends with a checksum of its last chunk of data, and that chunk with one of all its pixels (ADLER32, RFC
        1950): its last bytes tell masks apart that are equally long.
        """
        if not self.root.is_dir():
            return self.mark(name)
        with (self.root / name).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            return f"{size} {zlib.crc32(file.read())}"

    def below(self, folder: str) -> list[str]:
        """The visible images below a folder, links to folders followed, sorted."""
        if self.root.is_dir():
            paths = images_below(self.root / folder, (self.root,)) if (self.root / folder).is_dir() else ()
            return sorted(path.relative_to(self.root).as_posix() for path in paths)
        inside = f"{folder}/".lstrip("/")
        return sorted(name for name in self._members if name.startswith(inside) and is_visible_image(name))

    def folders(self, folder: str = "") -> list[str]:
        """The names of the visible folders in a folder, sorted."""
        inside = f"{folder}/".lstrip("/")
        if self.root.is_dir():
            found = {path.name for path in (self.root / folder).glob("*") if path.is_dir()}
        else:
            rest = (name.removeprefix(inside) for name in self._members if name.startswith(inside))
            found = {name.partition("/")[0] for name in rest if "/" in name}
        return sorted(name for name in found if not is_hidden(name))

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
    """The source that opens annotations at `where`: `coco`, `voc0712`, `masks`, or None where there are none."""
    if not where.exists() or (where.is_file() and not zipfile.is_zipfile(where)):
        return None
    bundle = Bundle(where)
    if bundle.matching(COCO):
        return "coco"
    if bundle.matching(VOC):
        return "voc0712"
    return None if mask_root(bundle) is None else "masks"


def mask_root(bundle: Bundle) -> str | None:
    """Where `images/` and `masks/SPLIT` lie: at the top, in a zip also in the one folder around everything, or None."""
    around = [] if bundle.root.is_dir() else bundle.folders()
    for top in ("", f"{around[0]}/") if len(around) == 1 else ("",):
        splits = {name.lower() for name in bundle.folders(f"{top}masks")}
        if "images" in bundle.folders(top.rstrip("/")) and splits & set(WORDS):
            return top
    return None
