"""Random image operations of SSL recipes: settings that draw numbers from a generator, and apply them to an image.

Drawing comes first and sees only the size of the image, so that other ways to change pixels (`data/pixels`) can be
given the same numbers.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from pydantic import Field

from transferbench.data.transforms import crop_box, functional, uniform
from transferbench.settings import Settings

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]
Range = Annotated[tuple[float, float], Field(description="(smallest, largest)")]
Size = tuple[int, int]
"""Width and height, pixels."""
Drawn = tuple[float, ...]
"""What an operation drew, always `COUNT` numbers; of most operations one, 0 for leaving the image as it was."""
UNCHANGED = -1.0


class Change(Settings):
    """What every operation can do."""

    COUNT: ClassVar[int] = 1

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The image changed by what is drawn from `rng`."""
        return self.apply(image, self.draw((image.width, image.height), rng))

    def draw(self, size: Size, rng: np.random.Generator) -> Drawn:
        """The numbers for an image of that size."""
        raise NotImplementedError

    def apply(self, image: Image.Image, drawn: Drawn) -> Image.Image:
        """The image changed by numbers drawn before."""
        raise NotImplementedError

    def resized(self, size: Size) -> Size:
        """The size of what an image of `size` becomes."""
        return size


class Chance(Change):
    """An operation that is done or not, with probability `p`; draws which."""

    p: Probability = Field(description="probability of applying it")

    def draw(self, size: Size, rng: np.random.Generator) -> Drawn:
        """1 or 0."""
        return (float(rng.random() < self.p),)


class Crop(Change):
    """Torchvision's RandomResizedCrop: a box of random area and shape, resized to a square.

    Draws top, left, height and width.
    """

    COUNT: ClassVar[int] = 4
    op: Literal["crop"] = Field(description="the operation")
    size: int = Field(ge=1, description="side of the square, pixels")
    scale: Range = Field((0.08, 1.0), description="range of the box's area, as a share of the image's")
    ratio: Range = Field((3 / 4, 4 / 3), description="range of the box's width over its height")
    interpolation: Literal["bilinear", "bicubic"] = Field("bicubic", description="how the box is resized")

    def draw(self, size: Size, rng: np.random.Generator) -> Drawn:
        """The box."""
        return tuple(map(float, crop_box(*size, self.scale, self.ratio, rng)))

    def apply(self, image: Image.Image, drawn: Drawn) -> Image.Image:
        """The image cropped and resized to `size` x `size`."""
        top, left, height, width = map(int, drawn)
        vision = functional()
        mode = vision.InterpolationMode(self.interpolation)
        return vision.resized_crop(image, top, left, height, width, [self.size, self.size], mode)

    def resized(self, size: Size) -> Size:
        """The square."""
        return self.size, self.size


class Jitter(Change):
    """Torchvision's ColorJitter with probability `p`: four factors, applied in random order.

    Draws the order, as four of 0 (brightness), 1 (contrast), 2 (saturation), 3 (hue) or four times -1 for none, and
    after it the factor of each of the four.
    """

    COUNT: ClassVar[int] = 8
    op: Literal["jitter"] = Field(description="the operation")
    brightness: Strength = Field(description="factor from 1 - this to 1 + this")
    contrast: Strength = Field(description="factor from 1 - this to 1 + this")
    saturation: Strength = Field(description="factor from 1 - this to 1 + this")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(description="shift by up to this part of the color circle")
    p: Probability = Field(0.8, description="probability of applying it")

    def draw(self, size: Size, rng: np.random.Generator) -> Drawn:
        """Order and factors."""
        if rng.random() >= self.p:
            return (UNCHANGED,) * 4 + (0.0,) * 4
        order, factors = rng.permutation(4).tolist(), [0.0] * 4
        for which in order:
            factors[which] = uniform(*self.range_of(which), rng)
        return (*map(float, order), *factors)

    def range_of(self, which: int) -> tuple[float, float]:
        """What the factor of one of the four is drawn from."""
        if which == 3:
            return -self.hue, self.hue
        strength = (self.brightness, self.contrast, self.saturation)[which]
        return max(0.0, 1 - strength), 1 + strength

    def apply(self, image: Image.Image, drawn: Drawn) -> Image.Image:
        """The image with its colors shifted, or as it was."""
        vision = functional()
        adjust = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation, vision.adjust_hue)
        for which in map(int, drawn[:4]):
            if which != UNCHANGED:
                image = adjust[which](image, drawn[4 + which])
        return image


class Gray(Chance):
    """Grayscale, as three equal channels, with probability `p`."""

    op: Literal["gray"] = Field(description="the operation")
    p: Probability = Field(0.2, description="probability of applying it")

    def apply(self, image: Image.Image, drawn: Drawn) -> Image.Image:
        """The image without color, or as it was."""
        return image.convert("L").convert("RGB") if drawn[0] else image


class Blur(Change):
    """Gaussian blur with a deviation drawn uniformly from `radius`, with probability `p`: PIL's, or torchvision's."""

    op: Literal["blur"] = Field(description="the operation")
    p: Probability = Field(description="probability of applying it")
    radius: Range = Field((0.1, 2.0), description="range of the deviation, pixels")
    kernel: int | None = Field(None, ge=1, description="side of torchvision's kernel, odd; none: PIL's blur")

    def draw(self, size: Size, rng: np.random.Generator) -> Drawn:
        """The deviation."""
        return (0.0,) if rng.random() >= self.p else (uniform(*self.radius, rng),)

    def apply(self, image: Image.Image, drawn: Drawn) -> Image.Image:
        """The image blurred, or as it was."""
        radius = drawn[0]
        if not radius:
            return image
        if self.kernel is None:
            return image.filter(ImageFilter.GaussianBlur(radius))
        return functional().gaussian_blur(image, [self.kernel] * 2, [radius] * 2)


class Solarize(Chance):
    """Invert every channel value of at least `threshold` (0 to 255), with probability `p`."""

    op: Literal["solarize"] = Field(description="the operation")
    threshold: int = Field(128, ge=0, le=256, description="values of at least this are inverted")

    def apply(self, image: Image.Image, drawn: Drawn) -> Image.Image:
        """The image solarized, or as it was."""
        return ImageOps.solarize(image, self.threshold) if drawn[0] else image


class Invert(Chance):
    """Swap light and dark with probability `p`."""

    op: Literal["invert"] = Field(description="the operation")

    def apply(self, image: Image.Image, drawn: Drawn) -> Image.Image:
        """The negative, or the image as it was."""
        return ImageOps.invert(image) if drawn[0] else image


class Flip(Chance):
    """Mirror left and right with probability `p`."""

    op: Literal["flip"] = Field(description="the operation")
    p: Probability = Field(0.5, description="probability of applying it")

    def apply(self, image: Image.Image, drawn: Drawn) -> Image.Image:
        """The mirror image, or the image as it was."""
        return ImageOps.mirror(image) if drawn[0] else image


Operation = Annotated[Crop | Jitter | Gray | Blur | Solarize | Invert | Flip, Field(discriminator="op")]
"""One operation of a view, named by `op` in a recipe; they are applied in the recipe's order."""
