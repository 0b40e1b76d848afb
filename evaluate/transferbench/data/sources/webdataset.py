"""Shards of images, read without the webdataset package: tars whose members KEY.jpg and KEY.cls are image and class.

A shard belongs to the split in its name or in its folder's (`train-000.tar`, `test/0.tar`), and shards and members are
taken in the order of their names. `classnames.txt`, one a line, names the classes. The fingerprint is a sha256 over
the members' names and sizes and over the labels.
"""

import hashlib
import io
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.trees import SPLITS, files_by_split, is_image
from transferbench.errors import UserError, unknown

HELP = "your own: give the path of a folder of shards, train-*.tar and val-*.tar or test-*.tar"

LAYOUT = "Expected tars named by split, with members KEY.jpg (or .png, .webp ...) and KEY.cls."


class TarMember(NamedTuple):
    """An image, its class and where it lies."""

    name: str
    label: int
    shard: Path
    offset: int
    size: int


@dataclass(frozen=True)
class Reader:
    """Decodes the i-th of some members. Each call opens the shard for itself: processes share no file offset."""

    members: tuple[TarMember, ...]

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`."""
        member = self.members[index]
        with member.shard.open("rb") as file:
            file.seek(member.offset)
            return Image.open(io.BytesIO(file.read(member.size)))


def open_split(where: Path, split: str) -> LabeledImages:
    """One split of the shards in `where`; the data set is called by the folder's name.

    Raises:
        UserError: when there are no shards of it, or one is damaged or holds something else.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    found = {name: _members(shards) for name, shards in files_by_split(where, ".tar").items()}
    if not found.get(split):
        raise UserError(f"{where} has no shards of '{split}' with images; found {', '.join(found) or 'none'}. {LAYOUT}")
    marks = (f"{member.name}\0{member.size}\0{member.label}\n" for member in found[split])
    return LabeledImages(
        info=DatasetInfo(where.resolve().name, _classes(where, found), tuple(found), None, "local"),
        split=split,
        labels=np.array([member.label for member in found[split]], np.int64),
        read=Reader(tuple(found[split])),
        names=[f"{split}/{member.name}" for member in found[split]],
        fingerprint=hashlib.sha256("".join(marks).encode()).hexdigest(),
    )


def _classes(where: Path, found: dict[str, list[TarMember]]) -> tuple[str, ...]:
    """Their names where a file gives them, else their numbers."""
    count = 1 + max(member.label for members in found.values() for member in members)
    listing = where / "classnames.txt"
    names = tuple(listing.read_text().splitlines()) if listing.is_file() else tuple(map(str, range(count)))
    if len(names) < count:
        raise UserError(
            f"{listing} names {len(names)} classes, but the shards have {count}. Expected one name a class."
        )
    return names


def _members(shards: list[Path]) -> list[TarMember]:
    """The images of some shards."""
    found: list[TarMember] = []
    for shard in shards:
        try:
            found += _indexed(shard, shard.stat().st_mtime_ns)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise UserError(f"{shard} cannot be read as a shard of images: {error}. {LAYOUT}") from None
    return found


@cache
def _indexed(shard: Path, changed: int) -> tuple[TarMember, ...]:
    """The images of a shard in the order of their names, read once for as long as the file does not change."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    with tarfile.open(shard) as archive:
        for info in archive:
            folder, slash, file = info.name.rpartition("/")
            key = folder + slash + file.partition(".")[0]
            if info.isfile() and is_image(file):
                images[key] = info
            elif info.isfile() and file.endswith(".cls"):
                content = archive.extractfile(info)
                labels[key] = int(content.read()) if content else -1
    lacking = sorted(images.keys() ^ {key for key, label in labels.items() if label >= 0})
    if lacking:
        raise ValueError(f"{len(lacking)} keys have no image or no class number (from 0), first '{lacking[0]}'")
    return tuple(
        TarMember(info.name, labels[key], shard, info.offset_data, info.size) for key, info in sorted(images.items())
    )
