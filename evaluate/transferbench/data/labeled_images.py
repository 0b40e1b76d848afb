"""One split of a data set: what is known of the set, and its images, decoded when asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Int8, Int64, UInt8, UInt64
from PIL import Image

from transferbench.data import decoding
from transferbench.data.annotations import Annotated
from transferbench.data.decoding import Range
from transferbench.data.label_maps import LabelMaps
from transferbench.errors import UserError

T = TypeVar("T")

Metric = Literal["top1", "mean_per_class", "map11", "box_ap", "miou"]
"""What a data set is reported in: accuracy, the mean of the classes' accuracies, for several labels an image the mean
over classes of VOC2007's 11-point average precision, for annotated objects, the average precision of boxes, or, for
label maps, the mean over classes of intersection over union."""


Carries = Literal["one label", "several labels", "boxes", "label maps"]
"""What an image of a data set carries: one class, a verdict on each class, annotated objects, or a class each pixel."""


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
    `labels` the class of the first, or -1. Where each pixel has a class, `label_maps` holds them and `labels` is -1.

    `notes` say what a reader of its numbers has to know: what was left out, what is judged in its place. `marks` hold,
    where that is known without decoding, a number for each image that changes with it, as the fingerprint does.
    """

    info: DatasetInfo
    split: str
    labels: Int64[np.ndarray, "n"]
    read: Callable[[int], Image.Image]
    names: Sequence[str]
    fingerprint: str
    targets: Int8[np.ndarray, "n c"] | None = None
    annotated: Annotated | None = None
    label_maps: LabelMaps | None = None
    notes: tuple[str, ...] = ()
    marks: UInt64[np.ndarray, "n"] | None = None

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

    @property
    def maps(self) -> LabelMaps:
        """The class of each pixel.

        Raises:
            UserError: when the pixels have none.
        """
        if self.label_maps is None:
            raise UserError(f"{self.info.name} carries {self.info.carries}. Expected label maps, as in ade20k.")
        return self.label_maps

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
        text = f"Cannot decode image {name}: {decoding.why_undecodable(error)}."
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
            label_maps=None if self.label_maps is None else self.label_maps.subset(chosen),
            marks=None if self.marks is None else self.marks[chosen],
        )
