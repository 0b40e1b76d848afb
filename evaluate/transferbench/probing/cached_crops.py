"""Features of random crops, made once: each pass over the images is a data set of its own in the cache of features."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from PIL import Image

from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.loading import generator
from transferbench.data.transforms import TrainingTransform, training
from transferbench.features.extraction import extract
from transferbench.features.spec import LayerSpec
from transferbench.probing.fit import FitContext


@runtime_checkable
class CropRecipe(Protocol):
    """What crops of a fit are drawn by, and what is read of them; `probe.FrozenProbe` is one."""

    @property
    def crop_scale(self) -> tuple[float, float]:
        """The least and the largest share of an image's area."""
        ...

    @property
    def flip(self) -> float:
        """The probability of mirroring."""
        ...

    @property
    def reading(self) -> LayerSpec:
        """What is taken of the backbone."""
        ...


def passes(
    candidate: Candidate, images: LabeledImages, count: int, recipe: CropRecipe, seed: int, place: FitContext
) -> list[Float[np.ndarray, "n d"]]:
    """Features of `count` random crops of every image: those that epochs 0 to count - 1 of a fit by `recipe` see."""
    preprocess = candidate.card.preprocess
    card = candidate.card.model_copy(update={"preprocess": preprocess.model_copy(update={"size": None})})
    cropped, transform = replace(candidate, card=card), training(preprocess, recipe.crop_scale, recipe.flip)
    features = [
        extract(
            cropped,
            _seen(images, transform, epoch, seed),
            place.cache,
            place.runtime,
            place.workers,
            recipe.reading,
            place.report,
        )
        for epoch in range(count)
    ]
    return [each.features for each in features]


def _seen(images: LabeledImages, transform: TrainingTransform, epoch: int, seed: int) -> LabeledImages:
    """The images as an epoch of training sees them."""

    def read(index: int) -> Image.Image:
        return transform.view(images.image(index), generator(seed, epoch, index))

    settings = (transform.preprocess.crop, transform.preprocess.interpolation, transform.scale, transform.flip)
    mark = f"{images.fingerprint} crops {settings} of epoch {epoch} with seed {seed}"
    return replace(images, read=read, fingerprint=mark)
