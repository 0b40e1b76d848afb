"""Batches of the views that protocols test with: made by machine code where that is worth it, pixel for pixel PIL's."""

import mmap
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image

from transferbench.data import LabeledImages
from transferbench.data.decoding import ImageSizeError
from transferbench.data.loading import Batch, Plan, Plans, batches, made
from transferbench.data.pixels.resizing import SUPPORT, down_first
from transferbench.data.transforms import EvaluationTransform, Preprocess, evaluation, normalized

ENOUGH = 512
"""Images from which on it pays to load numba and its code."""
SEEN = {"size", "resize", "crop", "crop_start", "interpolation"}
"""Of the preprocessing, what decides the pixels that are kept."""


def evaluated(images: LabeledImages, preprocess: Preprocess, plans: Plans[Plan], workers: int = 0) -> Iterator[Batch]:
    """The planned batches, each image as `transforms.evaluation` makes it, in so many loader processes.

    Raises:
        UserError: naming the image that cannot be decoded, or the batch at which a loader process died.
    """
    if not pays(plans):
        return batches(images, evaluation(preprocess), plans, workers=workers)
    import transferbench.data.compiled.evaluating  # noqa: F401  (here, so that loader processes begin with it)

    shared = _SHARED.get()
    can_share = not workers or multiprocessing.get_start_method() == "fork"
    kept = shared.of(images, preprocess) if shared and can_share else None
    return by_machine_code(images, Evaluated(images, preprocess, kept), plans, workers=workers)


def pays(plans: Plans[Plan]) -> bool:
    """Whether there is machine code, and so many images that loading it pays."""
    count = sum(len(plans[number].indices) for number in range(len(plans)))
    return count >= ENOUGH and find_spec("numba") is not None


def by_machine_code(
    images: LabeledImages, make: Callable[[Plan], Batch], plans: Plans[Plan], seed: int = 0, workers: int = 0
) -> Iterator[Batch]:
    """What `make` makes of the plans; it is compiled here, if it was not before, and not by each loader process."""
    if workers:
        make(Plan(0, plans[0].indices[:1]))
    return made(images, make, plans, seed, workers)


@dataclass(frozen=True)
class KeptPixels:
    """Pixels of the first images of a split, resized and cropped, and which of them are there already."""

    pixels: UInt8[np.ndarray, "n 3 s s"]
    is_there: UInt8[np.ndarray, "n"]


class SharedPixels:
    """Pixels for the next network that sees images so, up to `limit` bytes in all; loader processes share them."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.kept: dict[str, KeptPixels] = {}

    def of(self, images: LabeledImages, preprocess: Preprocess) -> KeptPixels | None:
        """Those of a split, of as many of its images as there is room for. None where there is no room."""
        side, seen = preprocess.crop, preprocess.model_dump(include=SEEN)
        key = f"{images.fingerprint} {images.split} {len(images)} {sorted(seen.items())}"
        one = 3 * side * side + 1
        count = min(len(images), self.left // one)
        if key not in self.kept and count:
            try:
                whole = np.frombuffer(mmap.mmap(-1, count * one), np.uint8)  # taken from the machine when written to
            except OSError:  # a machine that promises no more than it has
                return None
            self.left -= count * one
            self.kept[key] = KeptPixels(whole[count:].reshape(count, 3, side, side), whole[:count])
        return self.kept.get(key)


_SHARED: ContextVar[SharedPixels | None] = ContextVar("shared", default=None)


@contextmanager
def remembering(limit: int) -> Iterator[None]:
    """Inside the block images are decoded once for all networks that see them alike, as far as `limit` bytes reach."""
    token = _SHARED.set(SharedPixels(limit))
    try:
        yield
    finally:
        _SHARED.reset(token)


@dataclass(frozen=True)
class Evaluated:
    """Makes a batch: every image decoded, resized and cropped by machine code, and put in its place."""

    images: LabeledImages
    preprocess: Preprocess
    kept: KeptPixels | None = None
    """Where the pixels of some of the images are kept."""

    def __call__(self, plan: Plan) -> Batch:
        """The views of the planned images.

        Raises:
            UserError: naming the image that cannot be decoded or is resized to too many pixels.
        """
        from transferbench.data.compiled.evaluating import translate

        side, is_reversed = self.preprocess.crop, self.preprocess.channel_order == "bgr"
        views = np.empty((len(plan.indices), 3, side, side), np.float32)
        for view, index in zip(views, plan.indices.tolist(), strict=True):
            try:
                translate(self._pixels(index), self._values, is_reversed, view)
            except ImageSizeError as error:
                raise self.images.unreadable(index, error) from None
        labels = torch.from_numpy(self.images.labels[plan.indices])
        return Batch((torch.from_numpy(views),), labels, torch.from_numpy(plan.indices))

    def _pixels(self, index: int) -> UInt8[np.ndarray, "3 s s"]:
        """The pixels as they are kept, or made now, and then kept where there is room."""
        if self.kept is None or index >= len(self.kept.pixels):
            return self._made(index)
        if not self.kept.is_there[index]:
            self.kept.pixels[index] = self._made(index)
            self.kept.is_there[index] = 1
        return self.kept.pixels[index]

    def _made(self, index: int) -> UInt8[np.ndarray, "3 s s"]:
        from transferbench.data.compiled import evaluating

        pixels, settings = self.images.pixels(index), self.preprocess
        transform = EvaluationTransform(settings)
        height, width = transform.resized(*pixels.shape[:2])
        out = np.zeros((3, settings.crop, settings.crop), np.uint8)
        top, left = transform.margin(height), transform.margin(width)
        if min(height, width) < settings.crop:  # which pads
            whole = transform.cropped(Image.fromarray(pixels))
            return np.ascontiguousarray(np.asarray(whole).transpose(2, 0, 1))
        shrunk = np.array([[pixels.shape[0] - height], [pixels.shape[1] - width]], np.float64)
        is_down_first = bool(down_first(shrunk[0], shrunk[1])[0])
        evaluating.crop(pixels, height, width, top, left, int(SUPPORT[settings.interpolation]), is_down_first, out)
        return out

    @cached_property
    def _values(self) -> Float32[np.ndarray, "3 256"]:
        """What each value of each channel becomes."""
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
        return normalized(Image.fromarray(ramp), self.preprocess)[:, 0].contiguous().numpy()
