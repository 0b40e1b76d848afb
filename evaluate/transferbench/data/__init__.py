"""Labeled images by name: `digits`, `cifar10`, `hf:NAME`, or the path of a folder or zip."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int8, Int64, UInt8
from PIL import Image

from transferbench import plugins, renamed
from transferbench.data import decoding
from transferbench.data.annotations import Annotated
from transferbench.data.bundles import layout
from transferbench.data.decoding import Range
from transferbench.data.labels import checked
from transferbench.data.trees import files_by_split
from transferbench.errors import UserError, elsewhere, require_of_hub, unknown

T = TypeVar("T")
HUB = "hf:"

SOURCES = plugins.Registry("transferbench.data.sources", "data set", ("open_split",))
STORED = ("folder", "huggingface", "parquet", "webdataset")
"""The sources for any data set in a known layout, named by its path."""

LOCAL = "local"
"""The revision of a data set that lies in a folder or file of one's own."""
LOOKED_AT = 3
"""Images of such a one that are looked at before the others."""

Metric = Literal["top1", "mean_per_class", "map11", "box_ap"]
"""What a data set is reported in: accuracy, the mean of the classes' accuracies, for several labels an image the mean
over classes of VOC2007's 11-point average precision, or, for annotated objects, the average precision of boxes."""


Carries = Literal["one label", "several labels", "boxes"]
"""What an image of a data set carries: one class, a verdict on each class, or annotated objects."""


class UnstatedRangeError(UserError):
    """An image of more than 8 bits a channel, of which a person has to say what is black and white."""


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before any image is read.

    Attributes:
        unseen: of how many classes there is no image: chance is not over them.
        image_range: the values that are black and white in images of more than 8 bits a channel, where they are known.
    """

    name: str
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    image_size: int | None
    revision: str
    metric: Metric = "top1"
    carries: Carries = "one label"
    unseen: int = 0
    image_range: Range | None = None

    @property
    def chance(self) -> float | None:
        """The accuracy of guessing, in percent; None where precision is measured, which depends on the labels."""
        return 100 / (len(self.classes) - self.unseen) if self.carries == "one label" else None

    @property
    def test_split(self) -> str:
        """The split that results are reported on."""
        return "test" if "test" in self.splits else "val"


@dataclass(frozen=True)
class LabeledImages:
    """One split, its images decoded when asked for.

    `fingerprint` is a sha256 that changes with the images and labels: of pixels for sets in memory, of names and
    checksums for zips, of names and sizes alone for folders.

    Where an image may show several classes, `targets` says of each 1 (there), 0 (not there) or -1 (hard to tell, not
    counted), and `labels` holds the first that is there. Where objects are annotated, `annotated` holds them and
    `labels` the class of the first, or -1.

    `notes` say what a reader of its numbers has to know: what was left out, what is judged in its place.
    """

    info: DatasetInfo
    split: str
    labels: Int64[np.ndarray, "n"]
    read: Callable[[int], Image.Image]
    names: Sequence[str]
    fingerprint: str
    targets: Int8[np.ndarray, "n c"] | None = None
    annotated: Annotated | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def boxes(self) -> Annotated:
        """What is annotated.

        Raises:
            UserError: when nothing is.
        """
        if self.annotated is None:
            raise UserError(f"{self.info.name} carries {self.info.carries}. Expected annotated boxes, as in coco.")
        return self.annotated

    def image(self, index: int) -> Image.Image:
        """The image as RGB.

        Raises:
            UserError: naming the file that cannot be decoded.
        """
        return self._decoded(index, lambda image: image.convert("RGB"))

    def upright(self, index: int) -> Image.Image:
        """The image as RGB, turned as its EXIF orientation says: what boxes are in pixels of, here as in Detectron2.

        Raises:
            UserError: naming the file that cannot be decoded.
        """
        return self._decoded(index, lambda image: image.convert("RGB"), turns=True)

    def pixels(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels of `image`, sooner.

        Raises:
            UserError: naming the file that cannot be decoded.
        """
        return self._decoded(index, decoding.pixels)

    def size(self, index: int) -> tuple[int, int]:
        """Width and height as the file states them.

        Raises:
            UserError: naming the file that is no image, or too large.
        """
        try:
            return decoding.checked(self.read(index)).size
        except decoding.UNREADABLE as error:
            raise self.unreadable(index, error) from None

    def _decoded(self, index: int, how: Callable[[Image.Image], T], turns: bool = False) -> T:
        try:
            image = decoding.checked(self.read(index))
            orientation = decoding.orientation(image) if turns else 1  # what is scaled to 8 bits has none
            return how(decoding.turned(decoding.plain(image, self.info.image_range), orientation))
        except decoding.UNREADABLE as error:
            raise self.unreadable(index, error) from None

    def unreadable(self, index: int, error: Exception) -> UserError:
        """What is said of an image that cannot be decoded or is too large."""
        name = f"'{self.names[index]}' of {self.info.name}/{self.split}"
        text = f"Cannot decode image {name}: {decoding.told(error)}."
        if isinstance(error, decoding.ImageRangeError):
            return UnstatedRangeError(text)
        return UserError(f"{text} Repair or remove the file.")

    def ranged(self, image_range: Sequence[int | float] | None) -> "LabeledImages":
        """The same images with these values as black and white where they have more than 8 bits a channel.

        The fingerprint and the revision change with the range, for the pixels do; without one nothing does.

        Raises:
            UserError: for a range that is none.
        """
        import hashlib

        if image_range is None:
            return self
        low, high = decoding.proper(image_range)
        said = f"image range {low:.10g} to {high:.10g}"
        info = replace(self.info, image_range=(low, high), revision=f"{self.info.revision}, {said}")
        mark = hashlib.sha256(f"{self.fingerprint} image range {low!r} {high!r}".encode()).hexdigest()
        return replace(self, info=info, fingerprint=mark)

    def subset(self, indices: Int64[np.ndarray, "m"], why: str) -> "LabeledImages":
        """The images at `indices`, in that order; `why` becomes part of the fingerprint."""
        import hashlib

        read, chosen = self.read, np.asarray(indices)
        names = [self.names[int(i)] for i in chosen]
        mark = hashlib.sha256(f"{self.fingerprint} {why} ".encode() + chosen.tobytes()).hexdigest()
        return replace(
            self,
            labels=self.labels[chosen],
            read=lambda i: read(int(chosen[i])),
            names=names,
            fingerprint=mark,
            targets=None if self.targets is None else self.targets[chosen],
            annotated=None if self.annotated is None else self.annotated.subset(chosen),
        )


@runtime_checkable
class Source(Protocol):
    """What a file in `sources` offers; it may offer a line `HELP` (`Helping`) and `download` (`Downloadable`) too."""

    def open_split(self, where: Path, split: str) -> LabeledImages:
        """One split of what lies at `where`."""
        ...


@runtime_checkable
class Helping(Protocol):
    """A source that says in a line, `HELP`, how to get it."""

    HELP: str


@runtime_checkable
class Downloadable(Protocol):
    """A source that a program can fetch."""

    def download(self, where: Path) -> None:
        """Fetch it into the folder `where`."""
        ...


def download(data: str, root: Path) -> Path:
    """Fetch a data set into its folder under `root`.

    Raises:
        UserError: when it cannot be fetched by a program, or the network fails.
    """
    source: Source = SOURCES.load(data)
    if not isinstance(source, Downloadable):
        how = f" {source.HELP}" if isinstance(source, Helping) else ""
        raise UserError(f"'{data}' cannot be downloaded by this command.{how}")
    try:
        source.download(root / data)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"Could not download {data} into {root / data}: {error}. Check the network and try again."
        ) from None
    return root / data


def open_split(data: str, split: str, root: Path) -> LabeledImages:
    """One split of a data set, its labels checked.

    Args:
        data: a source's name (looked for under `root`), a path to a folder or zip in ImageFolder's, COCO's or VOC's
            layout or to a folder of parquet files or shards, or `hf:NAME` for a data set of the package `datasets`.
        split: `train`, or the one `DatasetInfo.test_split` names.

    Raises:
        UserError: when there is no such data set here, saying how to get it, or when a label is no number of a class.
    """
    images = _opened(data, split, root)
    where = f"{images.info.name}/{images.split}"
    return replace(images, labels=checked(images.labels, images.info.classes, where))


def looked_at(images: LabeledImages) -> LabeledImages:
    """The images, a few of which are decoded if the set is one's own: a damaged or unusual one is refused at once.

    Raises:
        UserError: naming an image that cannot be decoded.
    """
    if images.info.revision.startswith(LOCAL) and images.info.carries == "one label":
        for index in range(min(LOOKED_AT, len(images))):
            images.pixels(index)
    return images


def _opened(data: str, split: str, root: Path) -> LabeledImages:
    """The split as its source gives it."""
    path = Path(data).expanduser()
    if plugins.is_outside(data):
        return SOURCES.load(data).open_split(root / (path.stem if path.suffix == ".py" else data), split)
    if told := elsewhere(data):
        raise UserError(told)
    if data.startswith(HUB):
        require_of_hub(data, "hf")
        return SOURCES.load("huggingface").open_split(Path(data.removeprefix(HUB)), split)
    if "/" in data or path.suffix == ".zip":
        kinds = {"parquet": ".parquet", "webdataset": ".tar"}
        if path.suffix in kinds.values():
            raise UserError(
                f"{path} is one file. Expected the folder with the files of all splits: --data {path.parent}/"
            )
        kind = next((kind for kind, suffix in kinds.items() if files_by_split(path, suffix)), None)
        kind = kind or layout(path) or "folder"
        return SOURCES.load(kind).open_split(path, split)
    if data.replace("-", "_") not in SOURCES.names():
        if path.exists():
            raise UserError(f"'{data}' is no data set's name but lies here. Name it by its path: --data ./{data}")
        raise UserError(
            f"{unknown('data set', data, SOURCES.names())} Name any other by its path: a folder or zip with "
            f"train/<class>/* and val/<class>/* or test/<class>/*: --data /path/to/{data}"
        )
    return SOURCES.load(data).open_split(root / data, split)


__getattr__ = renamed.names_of(__name__)
