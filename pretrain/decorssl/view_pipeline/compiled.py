"""Views made by machine code, in loader processes."""

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8, UInt64

from decorssl.views import Views
from transferbench.data import LabeledImages, compiled, loading
from transferbench.data.augment import Crop
from transferbench.data.loading import Batch, Plan

Made = list[Float32[np.ndarray, "n 3 _ _"]]
ONE = np.zeros(1, np.int64)


class CompiledViews:
    """Makes a batch of a set that is `held`, or of images decoded one by one."""

    def __init__(
        self, images: LabeledImages, views: Views, seed: int, held: UInt8[np.ndarray, "all h w 3"] | None
    ) -> None:
        self.images, self.seed, self.held, self.preprocess = images, seed, held, views.preprocess
        self.programs = [compiled.program(view.operations) for view in views.views]
        self.sizes = [[each.size for each in view.operations if isinstance(each, Crop)][-1] for view in views.views]
        # Compiled here, if it has not been before, and not by every loader process.
        self._make(np.zeros((1, 8, 8, 3), np.uint8), ONE, np.zeros((1, 2), np.uint64), self._room(1))

    def __call__(self, plan: Plan) -> Batch:
        """The views of the planned images."""
        keys, views = loading.keys(self.seed, plan.epoch, plan.indices), self._room(len(plan.indices))
        if self.held is not None:
            self._make(self.held, plan.indices, keys, views)
        else:
            for i, index in enumerate(plan.indices.tolist()):
                self._make(self.images.pixels(index)[None], ONE, keys[i : i + 1], [view[i : i + 1] for view in views])
        labels = torch.from_numpy(self.images.labels[plan.indices])
        return Batch(tuple(map(torch.from_numpy, views)), labels, torch.from_numpy(plan.indices))

    def _room(self, n: int) -> Made:
        return [np.empty((n, 3, size, size), np.float32) for size in self.sizes]

    def _make(
        self,
        pixels: UInt8[np.ndarray, "all h w 3"],
        rows: Int64[np.ndarray, "n"],
        keys: UInt64[np.ndarray, "n 2"],
        views: Made,
    ) -> None:
        numbers = compiled.drawn(self.programs, (pixels.shape[2], pixels.shape[1]), keys)
        for program, own, view in zip(self.programs, numbers, views, strict=True):
            compiled.make(program, pixels, rows, own, self.preprocess, view)
