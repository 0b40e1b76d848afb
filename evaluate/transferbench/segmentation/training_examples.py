"""What a head is trained on: random crops of images with their label maps, the same whatever made them and how often.

The order of operations is mmsegmentation's (docs/protocols.md#segment-linear): resized by a random factor, cropped,
mirrored, its colors distorted, normalized, and filled up where it is smaller than the crop.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64
from PIL import Image, ImageOps
from pydantic import Field, field_validator
from torch import Tensor

from transferbench.data import LabeledImages
from transferbench.data.label_maps import UNCOUNTED, LabelRule
from transferbench.data.loading import Plan, generator
from transferbench.data.transforms import Preprocess, functional, normalized, uniform
from transferbench.segmentation.examples import Sizing, rescaled, resized_labels, truth
from transferbench.settings import Settings

DRAWS = 10
"""Crops that are drawn at most in search of one that no class fills."""
BRIGHTNESS = 32.0
"""Values of 255 that brightness changes by at most."""
CONTRAST = (0.5, 1.5)
"""Range of the factor of contrast, and of saturation."""


class Augmentation(Settings):
    """How training images are varied."""

    crop: int | None = Field(
        None, ge=1, le=8192, description="side of training crops, pixels; none: that of `resolution`"
    )
    scale: tuple[float, float] = Field(
        (0.5, 2.0), description="range of a random factor of `resolution` that training images are resized to"
    )
    most_of_one: float = Field(
        0.75,
        gt=0,
        le=1,
        description="a crop is drawn anew, 10 times at most, while one class fills more of it; 1: none",
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    distort: bool = Field(
        True, description="brightness, contrast, saturation and hue are changed, each one time in two"
    )
    hue: float = Field(0.1, ge=0, le=0.5, description="distort: the largest change of hue, as a share of the circle")

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError("expected two increasing numbers above 0")
        return scale


@dataclass(frozen=True)
class TrainingExamples:
    """Makes batches of crops of `side` pixels, for a backbone of patches of `patch` pixels."""

    images: LabeledImages
    preprocess: Preprocess
    sizing: Sizing
    augmentation: Augmentation
    rule: LabelRule
    resolution: int
    side: int
    patch: int
    seed: int

    def __call__(self, plan: "Stream") -> tuple[Float32[Tensor, "b 3 s s"], Int16[Tensor, "b s s"]]:
        """Crops and the class of each of their pixels, or `UNCOUNTED`."""
        pairs = zip(plan.epochs.tolist(), plan.indices.tolist(), strict=True)
        made = [self.crop(index, generator(self.seed, epoch, index)) for epoch, index in pairs]
        return torch.stack([pixels for pixels, _ in made]), torch.stack([torch.from_numpy(each) for _, each in made])

    def crop(self, index: int, rng: np.random.Generator) -> tuple[Float32[Tensor, "3 s s"], Int16[np.ndarray, "s s"]]:
        """A random crop of an image."""
        image, how = self.images.image(index), self.augmentation
        labels = truth(self.images, index, len(self.images.info.classes), self.rule, image)
        resolution = max(1, int(self.resolution * uniform(*how.scale, rng)))
        size = self.sizing.size(image.height, image.width, 1, resolution)
        image = rescaled(image, size, self.sizing.interpolation)
        labels = resized_labels(labels, size, self.sizing.resize_masks)
        top, left = chosen_crop(labels, self.side, how.most_of_one, rng)
        image = image.crop((left, top, min(left + self.side, size[1]), min(top + self.side, size[0])))
        labels = labels[top : top + self.side, left : left + self.side]
        if rng.random() < how.flip:
            image, labels = ImageOps.mirror(image), labels[:, ::-1]
        image = distorted(image, how.hue, rng) if how.distort else image
        pixels = torch.zeros(3, self.side, self.side)
        pixels[:, : image.height, : image.width] = normalized(image, self.preprocess)
        filled = np.full((self.side, self.side), UNCOUNTED, np.int16)
        filled[: image.height, : image.width] = labels
        return pixels, filled


@dataclass(frozen=True)
class Stream(Plan):
    """A batch of images that may lie in two passes: `epochs` says for each in which."""

    epochs: Int64[np.ndarray, "b"]


@dataclass(frozen=True)
class StreamPlans:
    """Batches from iteration `first` to `last`: images in a new order each pass, with no image left out at its end.

    `place` is (rank, processes): of each batch a process takes the images rank, rank + processes, ...
    """

    n: int
    batch_size: int
    first: int
    last: int
    seed: int
    place: tuple[int, int] = (0, 1)

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __getitem__(self, index: int, /) -> Stream:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = (self.first + index) * self.batch_size
        rank, processes = self.place
        positions = np.arange(start, start + self.batch_size)[rank::processes]
        epochs = positions // self.n
        orders = {
            epoch: np.random.default_rng([self.seed, epoch]).permutation(self.n) for epoch in set(epochs.tolist())
        }
        indices = [orders[epoch][at] for epoch, at in zip(epochs.tolist(), (positions % self.n).tolist(), strict=True)]
        return Stream(int(epochs.min()), np.array(indices, np.int64), epochs)


def chosen_crop(labels: Int16[np.ndarray, "h w"], side: int, most: float, rng: np.random.Generator) -> tuple[int, int]:
    """Where a crop begins: drawn until no class has `most` or more of its counted pixels, and two are there."""
    top, left = _drawn(labels, side, rng)
    for _ in range(DRAWS if most < 1 else 0):
        part = labels[top : top + side, left : left + side]
        counts = np.bincount(part[part != UNCOUNTED])
        if (counts > 0).sum() > 1 and counts.max() < most * counts.sum():
            break
        top, left = _drawn(labels, side, rng)
    return top, left


def _drawn(labels: Int16[np.ndarray, "h w"], side: int, rng: np.random.Generator) -> tuple[int, int]:
    high, wide = (max(0, size - side) + 1 for size in labels.shape)
    return int(rng.integers(high)), int(rng.integers(wide))


def distorted(image: Image.Image, hue: float, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue, each changed one time in two; contrast before or after the colors."""
    image = _shifted(image, 1.0, uniform(-BRIGHTNESS, BRIGHTNESS, rng)) if rng.random() < 0.5 else image
    early = rng.random() < 0.5
    image = _contrasted(image, rng) if early else image
    colors: Any = functional()
    if rng.random() < 0.5:
        image = colors.adjust_saturation(image, uniform(*CONTRAST, rng))
    if rng.random() < 0.5:
        image = colors.adjust_hue(image, uniform(-hue, hue, rng))
    return image if early else _contrasted(image, rng)


def _contrasted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _shifted(image, uniform(*CONTRAST, rng), 0.0) if rng.random() < 0.5 else image


def _shifted(image: Image.Image, factor: float, shift: float) -> Image.Image:
    """Values times `factor` plus `shift`, cut at black and white, rounded down."""
    values = np.asarray(image, np.float32) * factor + shift
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
