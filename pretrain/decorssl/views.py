"""The views of an image that a recipe asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from PIL import Image
from pydantic import Field
from torch import Tensor

from transferbench.data import pixels
from transferbench.data.augment import Crop, Drawn, Operation, Size
from transferbench.data.transforms import Preprocess, functional
from transferbench.settings import Settings

PIECE = 1 << 18
"""Values that a CPU changes at a time: what its cache holds."""


class View(Settings):
    """One view: operations in the order they are applied."""

    operations: tuple[Operation, ...] = Field(min_length=1, description="applied in this order")

    @property
    def cropped(self) -> int:
        """How many operations it takes until images of all sizes have become squares of one size; 0 if they never do.

        After the last crop only colors and directions change.
        """
        return max((i for i, operation in enumerate(self.operations, 1) if isinstance(operation, Crop)), default=0)

    @property
    def side(self) -> int:
        """The side in pixels of the squares that the last crop makes; 0 without one."""
        return next((each.size for each in reversed(self.operations) if isinstance(each, Crop)), 0)

    def scaled(self, scale: float) -> "View":
        """The same view with the sides of its crops scaled."""
        operations = (
            each.model_copy(update={"size": max(1, round(each.size * scale))}) if isinstance(each, Crop) else each
            for each in self.operations
        )
        return self if scale == 1 else View(operations=tuple(operations))


@dataclass(frozen=True)
class Views:
    """A transform from an image to one normalized tensor a view, all drawn from one generator in view order."""

    views: tuple[View, ...]
    preprocess: Preprocess

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Sequence[Tensor]:
        """The views of `image`, each `3 h w`."""
        return [self._view(view, image, rng) for view in self.views]

    def draw(self, size: Size, rng: np.random.Generator) -> list[Drawn]:
        """The numbers of each view, as calling would draw them."""
        return [pixels.drawn(view.operations, size, rng) for view in self.views]

    def batch(
        self, view: View, done: int, images: UInt8[Tensor, "n 3 h w"], numbers: Float64[np.ndarray, "n k"]
    ) -> Float32[Tensor, "n 3 a b"]:
        """One view of many images, on their device; its first `done` operations have been applied already."""
        operations = view.operations[done:]
        rest = numbers[:, sum(operation.COUNT for operation in view.operations[:done]) :]
        size = len(images) if images.is_cuda else max(1, PIECE // images[0].numel())
        parts = [
            pixels.normalized(pixels.changed(operations, part, rest[start : start + size]), self.preprocess)
            for start, part in zip(range(0, len(images), size), images.split(size), strict=True)
        ]
        return torch.cat(parts)

    def _view(self, view: View, image: Image.Image, rng: np.random.Generator) -> Tensor:
        for operation in view.operations:
            image = operation(image, rng)
        vision = functional()
        return vision.normalize(vision.to_tensor(image), list(self.preprocess.mean), list(self.preprocess.std))
