"""Views made in batches of tensors, on any device."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from PIL import Image
from torch import Tensor

from decorssl.views import View, Views
from transferbench.data import LabeledImages, loading
from transferbench.data.augment import Drawn
from transferbench.data.loading import Batch, Plan


@dataclass(frozen=True)
class Drawing:
    """What a loader process hands on: the numbers of each view, and its squares unless the set is held."""

    plan: Plan
    numbers: tuple[Float64[np.ndarray, "n _"], ...]
    squares: tuple[UInt8[Tensor, "n 3 _ _"], ...] = ()


@dataclass(frozen=True)
class Batched:
    """Views in batches. Without a GPU a loader process does it all."""

    images: LabeledImages
    views: Views
    seed: int
    device: torch.device

    def make(self, plan: Plan) -> Drawing | Batch:
        """What a loader process does."""
        return self._batch(self._drawn(plan)) if self.device.type == "cpu" else self._drawn(plan)

    def finish(self, made: Drawing | Batch) -> Batch:
        """What is left to do in the process that trains, on the device."""
        return self._batch(made) if isinstance(made, Drawing) else made

    def _drawn(self, plan: Plan) -> Drawing:
        raise NotImplementedError

    def _views(self, drawing: Drawing) -> list[Tensor]:
        raise NotImplementedError

    def _batch(self, drawing: Drawing) -> Batch:
        indices = drawing.plan.indices
        labels = torch.from_numpy(self.images.labels[indices])
        return Batch(tuple(self._views(drawing)), labels, torch.from_numpy(indices))

    def _generator(self, plan: Plan, index: int) -> np.random.Generator:
        return loading.generator(self.seed, plan.epoch, index)


@dataclass(frozen=True)
class Held(Batched):
    """Of a set that lies on the device, which loader processes see nothing of but its size."""

    pixels: UInt8[Tensor, "all 3 h w"]

    def __getstate__(self) -> dict[str, Any]:
        """What goes to a loader process that is not a fork of this one."""
        empty = self.pixels if self.device.type == "cpu" else torch.empty(0, *self.pixels.shape[1:], dtype=torch.uint8)
        return {**self.__dict__, "pixels": empty}

    def _drawn(self, plan: Plan) -> Drawing:
        height, width = self.pixels.shape[2:]
        rows = [self.views.draw((width, height), self._generator(plan, index)) for index in plan.indices.tolist()]
        return Drawing(plan, tuple(map(np.array, zip(*rows, strict=True))))

    def _views(self, drawing: Drawing) -> list[Tensor]:
        chosen = self.pixels[torch.from_numpy(drawing.plan.indices).to(self.device)]
        each = zip(self.views.views, drawing.numbers, strict=True)
        return [self.views.batch(view, 0, chosen, numbers) for view, numbers in each]


@dataclass(frozen=True)
class Decoded(Batched):
    """Of images that loader processes decode and crop."""

    def _drawn(self, plan: Plan) -> Drawing:
        rows, squares = [], []
        for index in plan.indices.tolist():
            image = self.images.image(index)
            rows.append(self.views.draw((image.width, image.height), self._generator(plan, index)))
            squares.append([_cropped(view, image, own) for view, own in zip(self.views.views, rows[-1], strict=True)])
        stacked = tuple(torch.from_numpy(np.stack(own)).permute(0, 3, 1, 2) for own in zip(*squares, strict=True))
        return Drawing(plan, tuple(map(np.array, zip(*rows, strict=True))), stacked)

    def _views(self, drawing: Drawing) -> list[Tensor]:
        given = [part.to(self.device, non_blocking=True) for part in drawing.squares]
        each = zip(self.views.views, given, drawing.numbers, strict=True)
        return [self.views.batch(view, view.cropped, part, numbers) for view, part, numbers in each]


def _cropped(view: View, image: Image.Image, drawn: Drawn) -> UInt8[np.ndarray, "s s 3"]:
    """The image after the view's last crop, and what comes before it, by PIL."""
    for operation in view.operations[: view.cropped]:
        image, drawn = operation.apply(image, drawn[: operation.COUNT]), drawn[operation.COUNT :]
    return np.asarray(image)
