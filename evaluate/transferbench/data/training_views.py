"""Batches of random views that classifiers are trained on: made by machine code where that is worth it, bit for bit."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from transferbench.data import LabeledImages
from transferbench.data.augment import Crop, Flip
from transferbench.data.evaluation_views import by_machine_code, pays
from transferbench.data.loading import Batch, Plan, Plans, batches, keys
from transferbench.data.transforms import RATIO, TrainingTransform


def trained_on(
    images: LabeledImages, transform: TrainingTransform, plans: Plans[Plan], seed: int, workers: int = 0
) -> Iterator[Batch]:
    """The planned batches, each image as `transform` makes it by the generator of (seed, epoch, its number).

    Raises:
        UserError: naming the image that cannot be decoded, or the batch at which a loader process died.
    """
    preprocess = transform.preprocess
    is_plain = preprocess.channel_order == "rgb" and preprocess.input_range == 1
    if not is_plain or not pays(plans):
        return batches(images, transform, plans, seed, workers)
    import transferbench.data.compiled  # noqa: F401  (here, so that loader processes begin with it)

    return by_machine_code(images, TrainedOn(images, transform, seed), plans, seed, workers)


@dataclass(frozen=True)
class TrainedOn:
    """Makes a batch: every image decoded, and its view cropped, resized, mirrored and normalized by machine code."""

    images: LabeledImages
    transform: TrainingTransform
    seed: int

    def __call__(self, plan: Plan) -> Batch:
        """The views of the planned images.

        Raises:
            UserError: naming the image that cannot be decoded.
        """
        from transferbench.data import compiled

        preprocess = self.transform.preprocess
        views = np.empty((len(plan.indices), 3, preprocess.crop, preprocess.crop), np.float32)
        row = np.zeros(1, np.int64)
        own = keys(self.seed, plan.epoch, plan.indices)
        for number, index in enumerate(plan.indices.tolist()):
            pixels = self.images.pixels(index)
            size, place = (pixels.shape[1], pixels.shape[0]), slice(number, number + 1)
            (numbers,) = compiled.drawn([self._program], size, own[place])
            compiled.make(self._program, pixels[None], row, numbers, preprocess, views[place])
        labels = torch.from_numpy(self.images.labels[plan.indices])
        return Batch((torch.from_numpy(views),), labels, torch.from_numpy(plan.indices))

    @cached_property
    def _program(self) -> Any:
        from transferbench.data import compiled

        preprocess = self.transform.preprocess
        crop = Crop(
            op="crop",
            size=preprocess.crop,
            scale=self.transform.scale,
            ratio=RATIO,
            interpolation=preprocess.interpolation,
        )
        return compiled.program([crop, Flip(op="flip", p=self.transform.flip)])
