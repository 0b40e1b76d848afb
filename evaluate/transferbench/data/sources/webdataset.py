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
from jaxtyping import Int64
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.labels import Numbered, by_number
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
    members = {name: _members(shards, name != "train") for name, shards in files_by_split(where, ".tar").items()}
    if not members.get(split):
        raise UserError(
            f"{where} has no shards of '{split}' with images; found {', '.join(members) or 'none'}. {LAYOUT}"
        )
    every = {name: np.array([member.label for member in shard], np.int64) for name, shard in members.items()}
    labels, classes, notes = _numbered(where, every, split)
    marks = (f"{m.name}\0{m.size}\0{label}\n" for m, label in zip(members[split], labels.tolist(), strict=True))
    return LabeledImages(
        info=DatasetInfo(where.resolve().name, classes, tuple(members), None, "local"),
        split=split,
        labels=labels,
        read=Reader(tuple(members[split])),
        names=[f"{split}/{member.name}" for member in members[split]],
        fingerprint=hashlib.sha256("".join(marks).encode()).hexdigest(),
        notes=notes,
    )


def _numbered(where: Path, every: dict[str, Int64[np.ndarray, "n"]], split: str) -> Numbered:
    """The labels of a split and its classes, by their names where a file gives them, else by their numbers."""
    listing = where / "classnames.txt"
    if not listing.is_file():
        return by_number(where.resolve().name, every, split)
    names, count = tuple(listing.read_text().splitlines()), 1 + int(np.concatenate(list(every.values())).max())
    if len(names) < count:
        raise UserError(
            f"{listing} names {len(names)} classes, but the shards have {count}. Expected one name a class."
        )
    return Numbered(every[split], names)


def _members(shards: list[Path], is_judged: bool) -> list[TarMember]:
    """The images of some shards."""
    members: list[TarMember] = []
    for shard in shards:
        try:
            members += _indexed(shard, shard.stat().st_mtime_ns, is_judged)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise UserError(f"{shard} cannot be read as a shard of images: {error}. {LAYOUT}") from None
    return members


@cache
def _indexed(shard: Path, changed: int, is_judged: bool) -> tuple[TarMember, ...]:
    """The images of a shard in the order of their names, read once for as long as the file does not change.

    Those of a judged shard without any class have none, as tests are given out.
    """
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
    labels = dict.fromkeys(images, -1) if is_judged and not labels else labels
    lacking = sorted(images.keys() ^ {key for key, label in labels.items() if label >= -1})
    if lacking:
        raise ValueError(
            f"{len(lacking)} keys have no image or no class number (from 0, or -1 for none), first '{lacking[0]}'"
        )
    return tuple(
        TarMember(info.name, labels[key], shard, info.offset_data, info.size) for key, info in sorted(images.items())
    )
