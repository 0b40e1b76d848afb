"""Batches of the views that protocols test with: made by machine code where that is worth it, pixel for pixel PIL's."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image

from transferbench.data import LabeledImages
from transferbench.data.decoding import ImageSizeError
from transferbench.data.loading import Batch, Plan, Plans, batches, made
from transferbench.data.pixels.resizing import SUPPORT, down_first
from transferbench.data.transforms import EvaluationTransform, Preprocess, evaluation, normalized

ENOUGH = 512
"""Images from which on it pays to load numba and its code."""


def evaluated(images: LabeledImages, preprocess: Preprocess, plans: Plans[Plan], workers: int = 0) -> Iterator[Batch]:
    """The planned batches, each image as `transforms.evaluation` makes it, in so many loader processes.

    Raises:
        UserError: naming the image that cannot be decoded, or the batch at which a loader process died.
    """
    count = sum(len(plans[number].indices) for number in range(len(plans)))
    if count < ENOUGH or not find_spec("numba"):
        return batches(images, evaluation(preprocess), plans, workers=workers)
    import transferbench.data.compiled.evaluating  # noqa: F401  (here, so that loader processes begin with it)

    return made(images, Evaluated(images, preprocess), plans, workers=workers)


@dataclass(frozen=True)
class Evaluated:
    """Makes a batch: every image decoded, resized and cropped by machine code, and put in its place."""

    images: LabeledImages
    preprocess: Preprocess

    def __call__(self, plan: Plan) -> Batch:
        """The views of the planned images.

        Raises:
            UserError: naming the image that cannot be decoded or is resized to too many pixels.
        """
        side = self.preprocess.crop
        views = np.empty((len(plan.indices), 3, side, side), np.float32)
        for row, index in zip(views, plan.indices.tolist(), strict=True):
            try:
                self._fill(index, row)
            except ImageSizeError as error:
                raise self.images.unreadable(index, error) from None
        labels = torch.from_numpy(self.images.labels[plan.indices])
        return Batch((torch.from_numpy(views),), labels, torch.from_numpy(plan.indices))

    def _fill(self, index: int, view: Float32[np.ndarray, "3 s s"]) -> None:
        from transferbench.data.compiled import evaluating

        pixels, settings = self.images.pixels(index), self.preprocess
        plain = EvaluationTransform(settings)
        height, width = plain.resized(*pixels.shape[:2])
        top, left = (round((length - settings.crop) / 2) for length in (height, width))
        if min(height, width) < settings.crop:  # which pads
            (whole,) = plain(Image.fromarray(pixels), np.random.default_rng(0))
            view[:] = whole.numpy()
            return
        shrunk = np.array([[pixels.shape[0] - height], [pixels.shape[1] - width]], np.float64)
        is_down_first = bool(down_first(shrunk[0], shrunk[1])[0])
        support, is_reversed = int(SUPPORT[settings.interpolation]), settings.channel_order == "bgr"
        evaluating.view(pixels, height, width, top, left, support, is_down_first, is_reversed, self._values, view)

    @cached_property
    def _values(self) -> Float32[np.ndarray, "3 256"]:
        """What each value of each channel becomes."""
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
        return normalized(Image.fromarray(ramp), self.preprocess)[:, 0].contiguous().numpy()
