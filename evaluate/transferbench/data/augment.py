"""Random image operations of SSL recipes: settings that can be called, drawing from the generator they are given."""

from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from pydantic import Field
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from transferbench.data.transforms import crop_box
from transferbench.settings import Settings

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]
Range = Annotated[tuple[float, float], Field(description="(smallest, largest)")]


class Crop(Settings):
    """Torchvision's RandomResizedCrop: a box of random area and shape, resized to a square."""

    op: Literal["crop"]
    size: int = Field(ge=1)
    scale: Range = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The image cropped and resized to `size` x `size`."""
        top, left, height, width = crop_box(image.width, image.height, self.scale, self.ratio, rng)
        mode = InterpolationMode(self.interpolation)
        return F.resized_crop(image, top, left, height, width, [self.size, self.size], mode)  # pyright: ignore[reportArgumentType, reportReturnType]


class Jitter(Settings):
    """Torchvision's ColorJitter with probability `p`: four factors, applied in random order."""

    op: Literal["jitter"]
    brightness: Strength
    contrast: Strength
    saturation: Strength
    hue: Annotated[float, Field(ge=0, le=0.5)]
    p: Probability = 0.8

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The image with its colours shifted, or as it was."""
        if rng.random() >= self.p:
            return image
        for change in rng.permutation(4):
            image = self._change(int(change), image, rng)
        return image

    def _change(self, which: int, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        if which == 3:
            return F.adjust_hue(image, rng.uniform(-self.hue, self.hue))  # pyright: ignore[reportArgumentType, reportReturnType]
        strength = (self.brightness, self.contrast, self.saturation)[which]
        factor = rng.uniform(max(0.0, 1 - strength), 1 + strength)
        adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[which]
        return adjust(image, factor)  # pyright: ignore[reportArgumentType, reportReturnType]


class Gray(Settings):
    """Grayscale, as three equal channels, with probability `p`."""

    op: Literal["gray"]
    p: Probability = 0.2

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The image without colour, or as it was."""
        return image.convert("L").convert("RGB") if rng.random() < self.p else image


class Blur(Settings):
    """Gaussian blur with a deviation drawn uniformly from `radius`, with probability `p`: PIL's, or torchvision's."""

    op: Literal["blur"]
    p: Probability
    radius: Range = (0.1, 2.0)
    kernel: int | None = Field(None, ge=1, description="side of torchvision's kernel, odd; none: PIL's blur")

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The image blurred, or as it was."""
        if rng.random() >= self.p:
            return image
        radius = rng.uniform(*self.radius)
        if self.kernel is None:
            return image.filter(ImageFilter.GaussianBlur(radius))
        return F.gaussian_blur(image, [self.kernel] * 2, [radius] * 2)  # pyright: ignore[reportArgumentType, reportReturnType]


class Solarize(Settings):
    """Invert every channel value of at least `threshold` (0 to 255), with probability `p`."""

    op: Literal["solarize"]
    p: Probability
    threshold: int = Field(128, ge=0, le=256)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The image solarised, or as it was."""
        return ImageOps.solarize(image, self.threshold) if rng.random() < self.p else image


class Invert(Settings):
    """Swap light and dark with probability `p`."""

    op: Literal["invert"]
    p: Probability

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The negative, or the image as it was."""
        return ImageOps.invert(image) if rng.random() < self.p else image


class Flip(Settings):
    """Mirror left and right with probability `p`."""

    op: Literal["flip"]
    p: Probability = 0.5

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The mirror image, or the image as it was."""
        return ImageOps.mirror(image) if rng.random() < self.p else image


Operation = Annotated[Crop | Jitter | Gray | Blur | Solarize | Invert | Flip, Field(discriminator="op")]
"""One step of a view, named by `op` in a recipe; the order in the recipe is the order of application."""
