"""Views made by machine code, in loader processes."""

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8, UInt64

from decorssl.views import Views
from transferbench.data import LabelledImages, compiled, loading
from transferbench.data.loading import Batch, Plan

Made = list[Float32[np.ndarray, "n 3 _ _"]]


class Compiled:
    """Makes a batch of a set that is `held`, or of images decoded one by one."""

    def __init__(
        self, images: LabelledImages, views: Views, seed: int, held: UInt8[np.ndarray, "all h w 3"] | None
    ) -> None:
        self.images, self.seed, self.held, self.preprocess = images, seed, held, views.preprocess
        self.programs = [compiled.program(view.operations) for view in views.views]
        # Compiled here, if it has not been before, and not by every loader process.
        self._made(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64), np.zeros((1, 2), np.uint64))

    def __call__(self, plan: Plan) -> Batch:
        """The views of the planned images."""
        keys = loading.keys(self.seed, plan.epoch, plan.indices)
        views = self._decoded(plan, keys) if self.held is None else self._made(self.held, plan.indices, keys)
        labels = torch.from_numpy(self.images.labels[plan.indices])
        return Batch(tuple(map(torch.from_numpy, views)), labels, torch.from_numpy(plan.indices))

    def _decoded(self, plan: Plan, keys: UInt64[np.ndarray, "n 2"]) -> Made:
        samples = [
            self._made(self.images.pixels(index)[None], np.zeros(1, np.int64), key[None])
            for index, key in zip(plan.indices.tolist(), keys, strict=True)
        ]
        return [np.concatenate(same_view) for same_view in zip(*samples, strict=True)]

    def _made(
        self, pixels: UInt8[np.ndarray, "all h w 3"], rows: Int64[np.ndarray, "n"], keys: UInt64[np.ndarray, "n 2"]
    ) -> Made:
        numbers = compiled.drawn(self.programs, (pixels.shape[2], pixels.shape[1]), keys)
        each = zip(self.programs, numbers, strict=True)
        return [compiled.made(program, pixels, rows, own, self.preprocess) for program, own in each]
