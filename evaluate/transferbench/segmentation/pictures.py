"""Test images beside their true and their predicted label maps, by PIL alone."""

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int16, Int64, UInt8
from PIL import Image

SIDE = 192
"""Pixels that the longer side of an image is drawn with."""
SHOWN = 6
"""Images of a split that are drawn."""

Row = tuple[Image.Image, Int16[np.ndarray, "h w"], Int64[np.ndarray, "h w"]]
"""An image, the class of each of its pixels, -1 for none, and what each is taken for."""


def chosen(n: int) -> list[int]:
    """Which of n images are drawn: some, evenly spaced."""
    return sorted(set(np.linspace(0, n - 1, min(SHOWN, n)).astype(int).tolist()))


def sheet(rows: Sequence[Row], classes: int) -> bytes:
    """A PNG with a row an image: itself, the truth, the prediction. Pixels without a class are black."""
    page = Image.new("RGB", (3 * SIDE, max(1, len(rows)) * SIDE), "white")
    colors = np.array([_color(label) for label in range(classes)] + [(0, 0, 0)], np.uint8)
    for place, (image, truth, predicted) in enumerate(rows):
        maps = [Image.fromarray(_painted(each, colors)) for each in (truth, predicted)]
        for column, each in enumerate([image, *maps]):
            scale = SIDE / max(image.size)
            size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
            law = Image.Resampling.NEAREST if column else Image.Resampling.BILINEAR
            page.paste(each.resize(size, law), (column * SIDE, place * SIDE))
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def _painted(
    labels: Int16[np.ndarray, "h w"] | Int64[np.ndarray, "h w"], colors: UInt8[np.ndarray, "c 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Each pixel in its class's color, in the last one where it has none."""
    last = len(colors) - 1
    return colors[np.where((labels < 0) | (labels > last), last, labels)]


def _color(label: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.5 + 0.5 * (label % 2), 1.0 - 0.35 * (label % 3) / 2)
    return round(255 * red), round(255 * green), round(255 * blue)
