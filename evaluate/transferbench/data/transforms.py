"""From an image to the tensor a backbone expects."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps
from pydantic import Field, field_validator, model_serializer
from torch import Tensor

from transferbench import renamed
from transferbench.data import decoding
from transferbench.settings import Settings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TOO_MANY = "would be resized to"
RATIO = (3 / 4, 4 / 3)
"""Width over height of a random crop: torchvision's default, as in every linear protocol (docs/protocols.md#linear)."""


LARGEST_SIDE = 8192
"""Pixels of a side that images are resized or cropped to."""


class Preprocess(Settings):
    """From an image to the tensor the backbone was trained on."""

    mean: tuple[float, float, float] = Field(
        default=IMAGENET_MEAN, description="of each channel, taken off; for images whose white is input_range"
    )
    std: tuple[float, float, float] = Field(default=IMAGENET_STD, description="of each channel, divided by")
    size: int | None = Field(
        default=256,
        ge=1,
        le=LARGEST_SIDE,
        description="resize the shorter side to this many pixels; none leaves the image",
    )
    resize: Literal["shorter_side", "square"] = Field(
        default="shorter_side",
        description="what `size` is of: the shorter side, or both sides, which squeezes images that are no squares",
    )
    crop: int = Field(default=224, ge=1, le=LARGEST_SIDE, description="side of the central crop, pixels")
    crop_start: Literal["nearest", "below"] = Field(
        default="nearest",
        description="where the crop begins if the margin is odd: half of it rounded to the nearest even number, as "
        "torchvision does, or down, as transformers does",
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(default="bilinear", description="how images are resized")
    channel_order: Literal["rgb", "bgr"] = Field(default="rgb", description="order of the color channels")
    input_range: Literal[1, 255] = Field(default=1, description="the value of white, to which mean and std refer")

    @field_validator("std")
    @classmethod
    def _divisible(cls, std: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(std) <= 0:
            raise ValueError("each value is divided by: expected three numbers above 0")
        return std

    @model_serializer(mode="wrap")
    def _written(self, plain: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without what later versions added, where it has its default: results keep their identity and checksum."""
        usual = {"channel_order": "rgb", "input_range": 1, "resize": "shorter_side", "crop_start": "nearest"}
        return {name: value for name, value in plain(self).items() if name not in usual or usual[name] != value}


def functional() -> Any:
    """torchvision's functions of images, imported by who changes images: it takes longer than importing torch.

    Typed for tensors alone, though images come out where images go in.
    """
    from torchvision.transforms import functional

    return functional


@dataclass(frozen=True)
class EvaluationTransform:
    """Resize the shorter side or both, crop the center, normalize. Nothing is random."""

    preprocess: Preprocess

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> tuple[Float[Tensor, "3 h w"]]:
        """The image as one tensor, in a tuple; `rng` is not used.

        Raises:
            ImageSizeError: for an image so narrow that it would be resized to too many pixels.
        """
        return (normalized(self.cropped(image), self.preprocess),)

    def cropped(self, image: Image.Image) -> Image.Image:
        """The image resized and cropped.

        Raises:
            ImageSizeError: as above.
        """
        if self.preprocess.size is not None:
            image = functional().resize(image, list(self.resized(image.height, image.width)), _mode(self.preprocess))
        crop, top, left = self.preprocess.crop, self.margin(image.height), self.margin(image.width)
        right, bottom = min(left + crop, image.width), min(top + crop, image.height)
        return functional().center_crop(image.crop((left, top, right, bottom)), [crop])  # which pads what is smaller

    def margin(self, side: int) -> int:
        """Where the crop begins on a side of so many pixels, which may be fewer than it has."""
        beside = max(side - self.preprocess.crop, 0)
        return beside // 2 if self.preprocess.crop_start == "below" else round(beside / 2)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image is resized to before it is cropped: torchvision's, who rounds down.

        Raises:
            ImageSizeError: for an image so narrow that it would be resized to too many pixels.
        """
        size = self.preprocess.size
        if size is None:
            return height, width
        if self.preprocess.resize == "square":
            return size, size
        decoding.require_bearable(size * width // min(height, width), size * height // min(height, width), TOO_MANY)
        longer = int(size * max(height, width) / min(height, width))
        return (size, longer) if height <= width else (longer, size)


@dataclass(frozen=True)
class TrainingTransform:
    """A random crop resized to `preprocess.crop`, mirrored with probability `flip`, normalized."""

    preprocess: Preprocess
    scale: tuple[float, float]
    flip: float

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> tuple[Float[Tensor, "3 h w"]]:
        """A random view of the image as one tensor, in a tuple."""
        return (normalized(self.view(image, rng), self.preprocess),)

    def view(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A random view of the image, not yet normalized."""
        top, left, height, width = crop_box(image.width, image.height, self.scale, RATIO, rng)
        side = [self.preprocess.crop] * 2
        image = functional().resized_crop(image, top, left, height, width, side, _mode(self.preprocess))
        return ImageOps.mirror(image) if rng.random() < self.flip else image


def evaluation(preprocess: Preprocess) -> EvaluationTransform:
    """The transform protocols test with: pixel for pixel torchvision's Resize, CenterCrop, ToTensor, Normalize."""
    functional()  # now, and not in every loader process
    return EvaluationTransform(preprocess)


def training(preprocess: Preprocess, scale: tuple[float, float], flip: float) -> TrainingTransform:
    """The transform protocols train a classifier with: torchvision's RandomResizedCrop and RandomHorizontalFlip.

    Args:
        preprocess: gives the side of the crop, the interpolation, mean and standard deviation; `size` is not used.
        scale: the least and the largest share of the image's area that a crop covers.
        flip: the probability of mirroring.
    """
    functional()  # now, and not in every loader process
    return TrainingTransform(preprocess, scale, flip)


def crop_box(
    width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Where to crop at random, as (top, left, height, width) in pixels, by torchvision's law.

    A share of the area, uniform in `scale`, and width over height, log-uniform in `ratio`, are drawn up to ten times
    until the crop fits; after that it is the largest central crop whose ratio is allowed. Source:
    docs/protocols.md#preprocessing.
    """
    for _ in range(10):
        area = width * height * uniform(scale[0], scale[1], rng)
        aspect = math.exp(uniform(math.log(ratio[0]), math.log(ratio[1]), rng))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """The number `rng.uniform(low, high)` gives, in a third of the time."""
    return low + (high - low) * rng.random()


def normalized(image: Image.Image, preprocess: Preprocess) -> Float[Tensor, "3 h w"]:
    """The image as a float tensor in the wanted range and order of channels, less the mean, over the deviation."""
    values = functional().to_tensor(image)
    values = values * preprocess.input_range if preprocess.input_range != 1 else values
    values = values.flip(0) if preprocess.channel_order == "bgr" else values
    return functional().normalize(values, list(preprocess.mean), list(preprocess.std))


def _mode(preprocess: Preprocess) -> Any:
    return functional().InterpolationMode(preprocess.interpolation)


__getattr__ = renamed.names_of(__name__)
