"""Images as a backbone is shown them, tested or augmented, each with the classes of just those pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64
from PIL import Image
from torch import Tensor

from transferbench.data import LabeledImages
from transferbench.data.label_maps import LabelRule
from transferbench.data.loading import Plan, generator, made
from transferbench.data.transforms import RATIO, Preprocess, crop_box, functional, normalized, uniform
from transferbench.segmentation.examples import Sizing, resized_image, resized_labels, truth

BATCH = 16
"""Images that go through the backbone together where they have one size."""
SCALE = (0.5, 2.0)
"""Shares of the image's area that a crop may cover; one that does not fit is drawn again."""
JITTERS = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
"""What leaves an image as it is; one after another is changed with probability 0.5, by up to `STRENGTH`."""
STRENGTH = 0.1


@dataclass(frozen=True)
class Views:
    """A split as a backbone of patches of `side` pixels is shown it.

    Where it is `augmented`, image i in epoch e has the jitter and the crop that the generator of (seed, e, i) draws,
    which is resized to a square of `resolution`: open-hummingbird-eval hbird/utils/transforms.py.
    """

    images: LabeledImages
    sizing: Sizing
    rule: LabelRule
    preprocess: Preprocess
    side: int
    augmented: bool = False
    seed: int = 0

    @property
    def resolution(self) -> int:
        """Pixels that images are resized to."""
        return self.sizing.resolution_on(self.images.info, self.preprocess)

    def of(self, images: LabeledImages) -> "Views":
        """The same of another split, as it is tested."""
        return replace(self, images=images, augmented=False)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image is shown at."""
        return self.sizing.size(height, width, self.side, self.resolution)

    def truth(self, index: int) -> Int16[np.ndarray, "h w"]:
        """The class of each pixel of the image itself, which is not decoded for it.

        Raises:
            UserError: naming a file whose numbers are no classes, or an image whose label map has another size.
        """
        outline = Image.new("1", self.images.size(index))
        return truth(self.images, index, len(self.images.info.classes), self.rule, outline)

    def labels(self, index: int, epoch: int = 0) -> Int16[np.ndarray, "h w"]:
        """The class of each pixel shown."""
        whole = self.truth(index)
        height, width = whole.shape
        if self.augmented:
            top, left, high, wide = self._box(width, height, generator(self.seed, epoch, index))
            whole = whole[top : top + high, left : left + wide]
        return resized_labels(whole, self.size(height, width), self.sizing.resize_masks)

    def image(self, index: int, epoch: int = 0) -> Float32[Tensor, "3 h w"]:
        """What is shown, normalized."""
        image = self.images.image(index)
        size = self.size(image.height, image.width)
        if not self.augmented:
            return resized_image(image, size, self.preprocess, self.sizing.interpolation)
        rng = generator(self.seed, epoch, index)
        box = self._box(image.width, image.height, rng)
        vision = functional()
        for name, neutral in JITTERS.items():
            if rng.random() < 0.5:
                adjust = getattr(vision, f"adjust_{name}")
                image = adjust(image, uniform(neutral - STRENGTH, neutral + STRENGTH, rng))
        mode = vision.InterpolationMode(self.sizing.interpolation)
        return vision.resized_crop(normalized(image, self.preprocess), *box, list(size), mode, antialias=True)

    def batches(
        self, epochs: Int64[np.ndarray, "n"], indices: Int64[np.ndarray, "n"], workers: int
    ) -> Iterator[tuple[Int64[np.ndarray, "b"], Float32[Tensor, "b 3 h w"]]]:
        """Positions in `indices`, and the images there, in order; those of a batch have one size."""
        starts = range(0, len(indices), BATCH)
        plans = [_Part(0, indices[start : start + BATCH], epochs[start : start + BATCH]) for start in starts]
        for start, shown in zip(starts, made(self.images, self._shown, plans, self.seed, workers), strict=True):
            first = 0
            for last in range(1, len(shown) + 1):
                if last == len(shown) or shown[last].shape != shown[first].shape:
                    yield np.arange(start + first, start + last), torch.stack(shown[first:last])
                    first = last

    def _shown(self, plan: "_Part") -> list[Float32[Tensor, "3 h w"]]:
        pairs = zip(plan.indices.tolist(), plan.epochs.tolist(), strict=True)
        return [self.image(index, epoch) for index, epoch in pairs]

    def _box(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        return crop_box(width, height, SCALE, RATIO, rng)


@dataclass(frozen=True)
class _Part(Plan):
    """Some images, each of an epoch of its own."""

    epochs: Int64[np.ndarray, "b"]
