"""The views of an image that a recipe asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydantic import Field
from torch import Tensor
from torchvision.transforms import functional as F

from transferbench.data.augment import Operation
from transferbench.data.transforms import Preprocess
from transferbench.settings import Settings


class View(Settings):
    """One view: operations in the order they are applied."""

    operations: tuple[Operation, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Views:
    """A transform from an image to one normalised tensor a view, all drawn from one generator in view order."""

    views: tuple[View, ...]
    preprocess: Preprocess

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Sequence[Tensor]:
        """The views of `image`, each `3 h w`."""
        return [self._view(view, image, rng) for view in self.views]

    def _view(self, view: View, image: Image.Image, rng: np.random.Generator) -> Tensor:
        for operation in view.operations:
            image = operation(image, rng)
        return F.normalize(F.to_tensor(image), list(self.preprocess.mean), list(self.preprocess.std))
