"""Images with a label map each, in files of a folder or zip: paired by name, of equal sizes, as they are stored.

The pixels are those that `LabeledImages.image` gives: an orientation noted in EXIF is applied to neither.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages, decoding, mask_files
from transferbench.data.bundles import Bundle
from transferbench.data.label_maps import LabelMaps
from transferbench.data.mask_files import Color, MaskError, Numbers
from transferbench.errors import UserError

SHOWN = 3
"""Unpaired files that a message names."""


class Pair(NamedTuple):
    """The paths of an image and of its label map."""

    image: str
    mask: str


class Coding(NamedTuple):
    """What the files of a data set store for its classes.

    `colors`: what a color stands for, in masks in color. `table`: from what files hold to numbers of classes, -1 where
    nothing may stand there; without it files hold the numbers. `zero_is_other`: see `LabelMaps`.
    """

    colors: Mapping[Color, int] | None = None
    table: tuple[int, ...] | None = None
    zero_is_other: bool = False


PLAIN = Coding()
"""Files that hold the numbers of classes."""


@dataclass(frozen=True)
class MapReader:
    """Reads the i-th label map, in any process, and holds it to the size of its image."""

    images: Callable[[int], Image.Image]
    masks: Callable[[int], Image.Image]
    pairs: Sequence[Pair]
    where: str
    coding: Coding = PLAIN

    def __call__(self, index: int) -> Numbers:
        """The numbers of map `index`.

        Raises:
            UserError: naming the file that is no label map, or has another size than its image.
        """
        image_name, name = self.pairs[index]
        try:
            found = mask_files.numbers(decoding.checked(self.masks(index)), self.coding.colors)
            found = found if self.coding.table is None else _translated(found, self.coding.table)
        except decoding.UNREADABLE as error:
            why = str(error) if isinstance(error, MaskError) else decoding.why_undecodable(error)
            raise UserError(f"Cannot read the label map '{name}' of {self.where}: {why}.") from None
        try:
            image = decoding.checked(self.images(index))
        except decoding.UNREADABLE as error:
            raise UserError(
                f"Cannot decode image '{image_name}' of {self.where}: {decoding.why_undecodable(error)}. Repair or "
                "remove the file."
            ) from None
        if image.size != found.shape[::-1]:
            height, width = found.shape
            raise UserError(
                f"The label map '{name}' of {self.where} is {width} x {height} pixels, and its image '{image_name}' is "
                f"{image.width} x {image.height}. Expected equal sizes.{_lies(image, found)}"
            )
        return found


def _lies(image: Image.Image, found: Numbers) -> str:
    """What is said where only EXIF's orientation makes the sizes equal."""
    if image.size == found.shape and decoding.orientation(image) >= 5:
        return " EXIF says that the image is turned, which is not applied: save it upright."
    return ""


def _translated(found: Numbers, table: tuple[int, ...]) -> Numbers:
    known = np.full(1 << 16, -1, np.int32)
    known[: len(table)] = table
    if strange := np.unique(found[known[found] < 0]).tolist():
        raise MaskError(f"it holds {', '.join(map(str, strange[:5]))}, which the data set gives no meaning")
    return known[found].astype(np.uint8)


def labeled(
    info: DatasetInfo, split: str, bundle: Bundle, pairs: Sequence[Pair], coding: Coding = PLAIN
) -> LabeledImages:
    """A split of images and label maps in these files.

    The fingerprint is a sha256 over paths, sizes and checksums of both, as far as `Bundle.mark` and `mask_mark` tell
    them, over the coding and over the names of the classes.
    """
    images = bundle.reader([pair.image for pair in pairs])
    masks = bundle.reader([pair.mask for pair in pairs])
    contents = [(f"{bundle.mark(i)} {bundle.mask_mark(i)}", bundle.mask_mark(m)) for i, m in pairs]
    marks = "".join(f"{i}\0{of_i}\0{m}\0{of_m}\n" for (i, m), (of_i, of_m) in zip(pairs, contents, strict=True))
    maps = MapReader(images, masks, tuple(pairs), f"{info.name}/{split}", coding)
    found = of_reader(info, split, maps, marks.encode(errors="surrogateescape"))
    shorts = [hashlib.sha256(repr(each).encode()).digest()[:8] for each in contents]
    return replace(found, marks=np.frombuffer(b"".join(shorts), np.uint64))


def of_reader(info: DatasetInfo, split: str, maps: MapReader, marks: bytes) -> LabeledImages:
    """A split of what `maps` reads; the fingerprint is a sha256 over `marks`, the coding and the classes' names."""
    colors, table, zero_is_other = maps.coding
    coded = repr((sorted((colors or {}).items()), table, zero_is_other, info.classes))
    return LabeledImages(
        info=info,
        split=split,
        labels=np.full(len(maps.pairs), -1, np.int64),
        read=maps.images,
        names=[pair.image for pair in maps.pairs],
        fingerprint=hashlib.sha256(marks + coded.encode()).hexdigest(),
        label_maps=LabelMaps(maps, [pair.mask for pair in maps.pairs], zero_is_other),
    )


def paired(images: Iterable[str], masks: Iterable[str], where: str, key: Callable[[str], str]) -> list[Pair]:
    """Images and masks with equal keys, sorted by path of the image.

    Args:
        images: paths.
        masks: paths.
        where: what they are called together, for messages.
        key: of a path, what an image and its mask share.

    Raises:
        UserError: naming those without a partner, or two of one key.
    """
    by_key = [_by_key(names, where, key) for names in (images, masks)]
    lone = [[name for each, name in mine.items() if each not in other] for mine, other in (by_key, by_key[::-1])]
    if lone[0] or lone[1]:
        faults = [
            f"{what}: {len(names)} ({', '.join(names[:SHOWN])}{' ...' * (len(names) > SHOWN)})"
            for names, what in zip(lone, ("images without a mask", "masks without an image"), strict=True)
            if names
        ]
        raise UserError(
            f"{where} has {', '.join(faults)}. Expected a mask for each image and an image for each mask, of one name "
            "but for the ending."
        )
    return [Pair(name, by_key[1][each]) for each, name in by_key[0].items()]


def _by_key(names: Iterable[str], where: str, key: Callable[[str], str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in sorted(names):
        if (other := found.setdefault(key(name), name)) != name:
            raise UserError(f"{where} holds {other} and {name}, of one name but for the ending. Remove one of them.")
    return found


def stem_below(folder: str) -> Callable[[str], str]:
    """The key of files that lie alike below two folders: the path below `folder`, without its ending."""
    return lambda path: str(PurePosixPath(path).relative_to(folder or ".").with_suffix(""))
