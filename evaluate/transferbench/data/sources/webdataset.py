"""Shards of images, read without the webdataset package: tars whose members KEY.jpg and KEY.cls are image and class.

A shard belongs to the split in its name or in its folder's (`train-000.tar`, `test/0.tar`), and shards and members are
taken in the order of their names. As in webdataset itself a key ends at the first dot of a file's name, all after it is
the extension, and its letter case does not matter: `KEY.seg.png` has the extension `seg.png` and is not judged.
`classnames.txt`, one a line, names the classes. The fingerprint is a sha256 over the members' names and sizes and over
the labels.
"""

import hashlib
import re
import tarfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages, decoding
from transferbench.data.labels import Numbered, by_number
from transferbench.data.trees import SPLITS, SUFFIXES, files_by_split, is_hidden
from transferbench.errors import UserError, unknown

HELP = "your own: give the path of a folder of shards, train-*.tar and val-*.tar or test-*.tar"

GZIP = b"\x1f\x8b"
LABEL = 64
"""Bytes of a class number at most."""
LAYOUT = "Expected tars named by split, not compressed, with members KEY.jpg (or .png, .webp ...) and KEY.cls."


class TarMember(NamedTuple):
    """An image, its class and where it lies."""

    name: str
    label: int
    shard: Path
    offset: int
    size: int


class Index(NamedTuple):
    """The images of some shards, and the other members that look like one: how many, and the first."""

    images: tuple[TarMember, ...]
    passed_over: int = 0
    first: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know."""
        said = f"{self.passed_over} members such as {self.first} are not judged: an image is KEY.jpg, .png, ..."
        return (said,) if self.passed_over else ()


@dataclass(frozen=True)
class ShardReader:
    """Decodes the i-th of some members. Each call opens the shard for itself: processes share no file offset."""

    members: tuple[TarMember, ...]

    def __call__(self, index: int) -> Image.Image:
        """Decode image `index`."""
        member = self.members[index]
        with member.shard.open("rb") as file:
            file.seek(member.offset)
            return decoding.opened(file.read(member.size))


def open_split(where: Path, split: str) -> LabeledImages:
    """One split of the shards in `where`; the data set is called by the folder's name.

    Raises:
        UserError: when there are no shards of it, or one is damaged or holds something else.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    indices = {name: index_of(shards, name != "train") for name, shards in files_by_split(where, ".tar").items()}
    by_split = {name: index.images for name, index in indices.items() if index.images}
    if split not in by_split:
        raise UserError(
            f"{where} has no shards of '{split}' with images; found {', '.join(by_split) or 'none'}. {LAYOUT}"
        )
    every = {name: np.array([member.label for member in members], np.int64) for name, members in by_split.items()}
    labels, classes, notes = _numbered(where, every, split)
    marks = (f"{m.name}\0{m.size}\0{label}\n" for m, label in zip(by_split[split], labels.tolist(), strict=True))
    return LabeledImages(
        info=DatasetInfo(where.resolve().name, classes, tuple(by_split), None, "local"),
        split=split,
        labels=labels,
        read=ShardReader(by_split[split]),
        names=[f"{split}/{member.name}" for member in by_split[split]],
        fingerprint=hashlib.sha256("".join(marks).encode()).hexdigest(),
        notes=(*notes, *indices[split].notes),
    )


def _numbered(where: Path, every: dict[str, Int64[np.ndarray, "n"]], split: str) -> Numbered:
    """The labels of a split and its classes, by their names where a file gives them, else by their numbers."""
    listing = where / "classnames.txt"
    if not listing.is_file():
        return by_number(where.resolve().name, every, split)
    try:
        names = tuple(listing.read_text("utf-8-sig").rstrip().splitlines())
    except UnicodeDecodeError as error:
        raise UserError(f"{listing} cannot be read as text: {error}. Expected one name a class, in UTF-8.") from None
    count = 1 + int(np.concatenate(list(every.values())).max())
    if len(names) < count:
        raise UserError(
            f"{listing} names {len(names)} classes, but the shards have {count}. Expected one name a class."
        )
    return Numbered(every[split], names)


def index_of(shards: Sequence[Path], is_judged: bool) -> Index:
    """What some shards hold; where no member of a judged one is a class, its images have none.

    Raises:
        UserError: naming a shard that is damaged, or holds something else.
    """
    indexed: list[Index] = []
    for shard in shards:
        try:
            indexed.append(_indexed(shard, shard.stat().st_mtime_ns, is_judged))
        except (tarfile.TarError, OSError, ValueError) as error:
            raise UserError(f"{shard} cannot be read as a shard of images: {error}. {LAYOUT}") from None
    first = next((each.first for each in indexed if each.first), "")
    return Index(
        tuple(image for each in indexed for image in each.images), sum(each.passed_over for each in indexed), first
    )


@cache
def _indexed(shard: Path, changed: int, is_judged: bool) -> Index:
    """The images of a shard in the order of their names, read once for as long as the file does not change.

    Those of a judged shard without any class have none, as tests are given out.
    """
    with shard.open("rb") as file:
        if file.read(2) == GZIP:
            raise ValueError(f"it is compressed with gzip: mv {shard.name} {shard.name}.gz && gunzip {shard.name}.gz")
    samples: dict[str, dict[str, tarfile.TarInfo]] = defaultdict(dict)
    with tarfile.open(shard, "r:") as archive:
        for info in archive:
            folder, slash, file = info.name.rpartition("/")
            key, dot, extension = file.partition(".")
            if not info.isfile() or not (key and dot) or any(map(is_hidden, folder.split("/"))):
                continue
            other = samples[folder + slash + key].setdefault(extension.lower(), info)
            if other is not info:
                raise ValueError(_twice(other, info))
        has_labels = any(extension.endswith("cls") for members in samples.values() for extension in members)
        return _matched(archive, shard, samples, not has_labels and is_judged)


def _matched(
    archive: tarfile.TarFile, shard: Path, samples: Mapping[str, Mapping[str, tarfile.TarInfo]], is_unlabeled: bool
) -> Index:
    """Images with their classes."""
    images: list[TarMember] = []
    others: list[str] = []
    for key, members in sorted(samples.items()):
        image, label = _image(members), members.get("cls")
        others += [info.name for extension, info in members.items() if _looks_like_image(extension) and info != image]
        if image and (label or is_unlabeled):
            number = _label(archive, label) if label else -1
            images.append(TarMember(image.name, number, shard, image.offset_data, image.size))
        elif image or any(_looks_like_image(extension) or extension.endswith("cls") for extension in members):
            raise ValueError(_incomplete(key, members))
    return Index(tuple(images), len(others), next(iter(others), ""))


def _image(members: Mapping[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    """The one image of a key."""
    images = [info for extension, info in members.items() if f".{extension}" in SUFFIXES]
    if len(images) > 1:
        raise ValueError(_twice(*images[:2]))
    return images[0] if images else None


def _twice(first: tarfile.TarInfo, second: tarfile.TarInfo) -> str:
    return f"the members {first.name} and {second.name} stand under one key, and one image and one class are expected"


def _looks_like_image(extension: str) -> bool:
    return f".{extension}".endswith(SUFFIXES)


def _incomplete(key: str, members: Mapping[str, tarfile.TarInfo]) -> str:
    """What is said of a key without an image or a class."""
    lacking = "image" if "cls" in members else "class number" if _image(members) else "image and no class number"
    names = ", ".join([info.name for info in members.values()][:4])
    dotted = " (a key ends at the first dot: rename members whose key has one)"
    return f"the key '{key}' has no {lacking}; its members: {names}{dotted if any('.' in e for e in members) else ''}"


def _label(archive: tarfile.TarFile, info: tarfile.TarInfo) -> int:
    content = archive.extractfile(info)
    text = content.read(LABEL + 1).strip() if content else b""
    if not re.fullmatch(rb"-1|[0-9]{1,19}", text) or int(text) >= 2**63:
        raise ValueError(f"{info.name} holds {text[:20]!r}; expected the number of a class, from 0, or -1 for none")
    return int(text)
