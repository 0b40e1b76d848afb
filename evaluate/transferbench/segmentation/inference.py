"""From an image to the class of each of its pixels: whole or by sliding windows, at one scale or several, mirrored too.

Where windows overlap, logits are averaged; over scales and mirror images, probabilities (docs/protocols.md
#segment-linear). Memory: one window's features, and logits of so many classes at a time as fit in `AT_ONCE`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int16, UInt8
from PIL import Image
from pydantic import Field, model_validator
from torch import Tensor

from transferbench.data.transforms import Preprocess
from transferbench.segmentation.batched_heads import Heads, enlarge
from transferbench.segmentation.dense_features import DenseFeatures
from transferbench.segmentation.examples import Sizing, fitted, resized_image
from transferbench.settings import Settings

AT_ONCE = 1 << 26
"""Logits that are held at once, of one scale of an image: 256 MiB."""
WINDOWS = 16
"""Windows that go through the backbone at once."""


class Inference(Settings):
    """How the classes of an image's pixels are found."""

    inference: Literal["whole", "slide"] = Field("whole", description="the whole image at once, or overlapping windows")
    window: int | None = Field(
        None, ge=1, le=8192, description="inference=slide: side of a window; none: that of training crops"
    )
    stride: int | None = Field(
        None,
        ge=1,
        le=8192,
        description="inference=slide: pixels between windows; none: two thirds of one, rounded down",
    )
    scales: tuple[float, ...] = Field(
        (1.0,), min_length=1, description="factors of `resolution`; probabilities are averaged over them"
    )
    flips: bool = Field(False, description="each scale is looked at mirrored too")
    scored_at: Literal["original", "resolution"] = Field(
        "original",
        description="logits are enlarged to the label map as it is, or it is resized, by `resize_masks`, to the size "
        "that the backbone sees the image at",
    )

    @model_validator(mode="after")
    def _is_used(self) -> "Inference":
        if self.inference == "whole" and (self.window or self.stride):
            raise ValueError("inference=whole has no window and no stride: leave them out, or set inference=slide")
        if self.window and self.stride and self.stride > self.window:
            raise ValueError(f"stride={self.stride} leaves gaps between windows of {self.window} pixels")
        if min(self.scales) <= 0:
            raise ValueError("scales must be above 0")
        return self


Box = tuple[int, int, int, int]
"""Top, left, bottom and right."""


@dataclass(frozen=True)
class View:
    """An image at one scale: its size, the windows, and the features of each, `d r c`."""

    size: tuple[int, int]
    boxes: Sequence[Box]
    maps: Sequence[Float32[Tensor, "d r c"]]
    is_mirrored: bool


@dataclass(frozen=True)
class Looking:
    """Everything that makes `views` of an image. `side` is that of windows where the settings name none."""

    features: DenseFeatures
    preprocess: Preprocess
    sizing: Sizing
    inference: Inference
    resolution: int
    side: int
    device: torch.device

    def size(self, image: Image.Image, scale: float = 1.0) -> tuple[int, int]:
        """Height and width at which the backbone sees an image."""
        at = max(1, int(self.resolution * scale))
        return self.sizing.size(image.height, image.width, self.features.side, at)

    def views(self, image: Image.Image) -> Iterator[View]:
        """The image at each scale, and mirrored where asked for, one after another."""
        for scale in self.inference.scales:
            size = self.size(image, scale)
            pixels = resized_image(image, size, self.preprocess, self.sizing.interpolation).to(self.device)
            boxes = self._boxes(size)
            for is_mirrored in (False, True) if self.inference.flips else (False,):
                seen = pixels.flip(2) if is_mirrored else pixels
                yield View(size, boxes, self._maps(seen, boxes), is_mirrored)

    def _boxes(self, size: tuple[int, int]) -> list[Box]:
        if self.inference.inference == "whole":
            return [(0, 0, *size)]
        side = fitted(self.inference.window or self.side, self.sizing, self.features.side)
        return windows(size, side, self.inference.stride or max(1, 2 * side // 3))

    def _maps(self, pixels: Float32[Tensor, "3 h w"], boxes: Sequence[Box]) -> list[Float32[Tensor, "d r c"]]:
        maps: list[Tensor] = []
        for start in range(0, len(boxes), WINDOWS):
            cut = [pixels[:, top:bottom, left:right] for top, left, bottom, right in boxes[start : start + WINDOWS]]
            maps += self.features(torch.stack(cut)).unbind()
        return maps


def windows(size: tuple[int, int], side: int, stride: int) -> list[Box]:
    """Windows that cover an image of this height and width, row by row; the last of each row and column end with it.

    Source: mmsegmentation's `EncoderDecoder.slide_inference`. An image smaller than a window is in one, whole.
    """
    tops, lefts = (_starts(length, side, stride) for length in size)
    return [(top, left, min(top + side, size[0]), min(left + side, size[1])) for top in tops for left in lefts]


def _starts(length: int, side: int, stride: int) -> list[int]:
    count = max(length - side + stride - 1, 0) // stride + 1
    return [max(min(i * stride + side, length) - side, 0) for i in range(count)]


def predicted(
    heads: Heads, head: int, views: Sequence[View], size: tuple[int, int]
) -> UInt8[np.ndarray, "h w"] | Int16[np.ndarray, "h w"]:
    """The class of each pixel of an image at this height and width."""
    classes = heads.weight.shape[1]
    if len(views) == 1:
        best = _largest(heads, head, views[0], size)
    else:
        total: Tensor | float = 0.0
        for view in views:
            parts = [logits for _, logits in _logits(heads, head, view, size)]
            total = total + torch.cat(parts).softmax(0)
        assert isinstance(total, Tensor)
        best = total.argmax(0)
    return best.to("cpu", torch.uint8 if classes <= 256 else torch.int16).numpy()


def _largest(heads: Heads, head: int, view: View, size: tuple[int, int]) -> Tensor:
    """The class of the largest logit of each pixel, without holding all; of equal ones the first."""
    most: Tensor | None = None
    best = torch.zeros(size, dtype=torch.int64, device=heads.weight.device)
    for first, logits in _logits(heads, head, view, size):
        value, at = logits.max(0)
        if most is None:
            most, best = value, at + first
            continue
        better = value > most
        best, most = torch.where(better, at + first, best), torch.where(better, value, most)
    return best


def _logits(heads: Heads, head: int, view: View, size: tuple[int, int]) -> Iterator[tuple[int, Float[Tensor, "k h w"]]]:
    """Logits of some classes at a time for the pixels of an image at this size, with the number of the first class."""
    classes, how = heads.weight.shape[1], heads.recipe.enlarge
    largest = max(size[0] * size[1], view.size[0] * view.size[1])
    at_once = max(1, AT_ONCE // largest)
    for first in range(0, classes, at_once):
        part = slice(first, first + at_once)
        canvas = _pasted(view, lambda maps, part=part: heads.logits(maps[None], head, part)[0], how)
        yield first, enlarge((canvas.flip(2) if view.is_mirrored else canvas)[None], size, how)[0]


def _pasted(view: View, logits: Callable[[Tensor], Tensor], how: str) -> Float[Tensor, "k h w"]:
    """The mean of the windows' logits at each pixel of the view."""
    if len(view.boxes) == 1:
        return enlarge(logits(view.maps[0])[None], view.size, how)[0]
    total = count = None
    for (top, left, bottom, right), maps in zip(view.boxes, view.maps, strict=True):
        part = enlarge(logits(maps)[None], (bottom - top, right - left), how)[0]
        if total is None or count is None:
            total, count = part.new_zeros(len(part), *view.size), part.new_zeros(view.size)
        total[:, top:bottom, left:right] += part
        count[top:bottom, left:right] += 1
    assert total is not None
    assert count is not None
    return total / count
