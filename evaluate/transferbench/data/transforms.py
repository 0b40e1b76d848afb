"""From an image to the tensor a backbone expects."""

from typing import Literal

from pydantic import Field

from transferbench.settings import Settings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocess(Settings):
    """From an image to the tensor the backbone was trained on."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    size: int | None = Field(256, description="resize the shorter side to this many pixels; none leaves the image")
    crop: int = Field(224, ge=1, description="side of the central crop, pixels")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
