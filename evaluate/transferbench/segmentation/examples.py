"""An image with its label map: both brought to a size by a law that is stated, and how large that size is."""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int16
from PIL import Image
from pydantic import Field
from torch import Tensor

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.dataset import Dataset
from transferbench.data.decoding import require_bearable
from transferbench.data.label_maps import LabelRule
from transferbench.data.transforms import TOO_MANY, Preprocess, normalized
from transferbench.errors import UserError
from transferbench.settings import Settings

__all__ = ["MaskLaw", "Sizing", "fitted", "named_for", "resized_image", "resized_labels", "truth"]

MaskLaw = Literal["pillow nearest", "torch nearest", "torch nearest-exact"]
"""Which pixel of a label map is kept where it shrinks or grows: the three differ (docs/protocols.md#segment-linear)."""


class Sizing(Settings):
    """How large the images are that a backbone sees: base of the settings of every task that looks at whole images."""

    resolution: int | None = Field(
        None,
        ge=1,
        le=8192,
        description="side that test images are resized to; none: that of the data where all have one, else the "
        "checkpoint's own crop",
    )
    resize: Literal["shorter_side", "square"] = Field(
        "shorter_side", description="what `resolution` is of: the shorter side, or both, which squeezes images"
    )
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="how images are resized, by Pillow, which smooths before it shrinks"
    )
    resize_masks: MaskLaw = Field("pillow nearest", description="which pixel of a label map is kept when it is resized")
    whole_patches: Literal["rounded", "padded"] = Field(
        "rounded",
        description="sides that are no multiples of a patch: rounded to the nearest that is, or zeros all around, and "
        "the map laid over the image as if it had none",
    )

    def resolution_on(self, info: DatasetInfo, preprocess: Preprocess) -> int:
        """The side that images of a data set are resized to, pixels."""
        return self.resolution or info.image_size or preprocess.crop

    def size(self, height: int, width: int, side: int, resolution: int) -> tuple[int, int]:
        """Height and width that an image is resized to for a backbone of patches of `side` pixels."""
        if self.resize == "square":
            return fitted(resolution, self, side), fitted(resolution, self, side)
        short = min(height, width)
        require_bearable(resolution * width // short, resolution * height // short, TOO_MANY)
        high, wide = (int(resolution * each / short + 0.5) for each in (height, width))
        return fitted(high, self, side), fitted(wide, self, side)


def fitted(pixels: int, sizing: Sizing, side: int) -> int:
    """A length as the backbone takes it: the nearest multiple of a patch, at least one; as it is where zeros are added.

    Of two that are as near, the larger.
    """
    if sizing.whole_patches == "padded":
        return pixels
    return max(side, (2 * pixels + side) // (2 * side) * side)


def named_for(dataset: Dataset, rule: LabelRule) -> Dataset:
    """The splits with the names that classes have by the rule: where it leaves number 0 out, they lose that name."""
    return Dataset(*(_named_for(images, rule) for images in (dataset.train, dataset.test)))


def _named_for(images: LabeledImages, rule: LabelRule) -> LabeledImages:
    if images.maps.zero_is_other or not images.maps.reduces(rule):
        return images
    return replace(images, info=replace(images.info, classes=images.info.classes[1:]))


def truth(
    images: LabeledImages, index: int, classes: int, rule: LabelRule, image: Image.Image
) -> Int16[np.ndarray, "h w"]:
    """The class of each pixel of an image, or `UNCOUNTED`.

    Raises:
        UserError: naming a file whose numbers are no classes, or an image whose label map has another size.
    """
    labels = images.maps.labels(index, classes, rule)
    if labels.shape != (image.height, image.width):
        raise UserError(
            f"The label map of '{images.names[index]}' has {labels.shape[1]}x{labels.shape[0]} pixels, and the image "
            f"{image.width}x{image.height}. Expected the same size."
        )
    return labels


def resized_image(
    image: Image.Image, size: tuple[int, int], preprocess: Preprocess, interpolation: str
) -> Float32[Tensor, "3 h w"]:
    """The image at (height, width), normalized as the backbone expects it."""
    return normalized(rescaled(image, size, interpolation), preprocess)


def rescaled(image: Image.Image, size: tuple[int, int], interpolation: str) -> Image.Image:
    """The image at (height, width), by Pillow."""
    if (image.height, image.width) == size:
        return image
    return image.resize((size[1], size[0]), Image.Resampling[interpolation.upper()])


def resized_labels(labels: Int16[np.ndarray, "h w"], size: tuple[int, int], law: MaskLaw) -> Int16[np.ndarray, "H W"]:
    """The label map at (height, width), each pixel one that the map had."""
    if labels.shape == size:
        return labels
    if law == "pillow nearest":
        numbers = Image.fromarray(labels.astype(np.int32))
        return np.asarray(numbers.resize((size[1], size[0]), Image.Resampling.NEAREST)).astype(np.int16)
    values = torch.from_numpy(labels.astype(np.float32))[None, None]
    return F.interpolate(values, size=size, mode=law.removeprefix("torch "))[0, 0].numpy().astype(np.int16)
