"""Test images beside their true and their predicted label maps, by PIL alone."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int16, Int64, UInt8
from PIL import Image, ImageDraw

from transferbench.data.label_maps import UNCOUNTED

SIDE = 192
"""Pixels that the longer side of an image is drawn with."""
SHOWN, MAPS = 8, 2
"""How many images, and how many to a line: image, truth and prediction of each."""
LINE = 16
"""Pixels of a line of the legend."""
UNCOUNTED_COLOR = (224, 224, 192)
"""Of pixels that do not count, in both maps: VOC's color of number 255."""
NAMED = 24
"""How many classes the legend names, those with the most pixels in what is drawn."""
Labels = Int16[np.ndarray, "_ _"] | Int64[np.ndarray, "_ _"] | UInt8[np.ndarray, "_ _"]


def palette(count: int) -> UInt8[np.ndarray, "count 3"]:
    """The colors of classes 0 to `count` - 1 as the VOC development kit (VOClabelcolormap.m) makes them.

    Bit j of red, green and blue, from the highest down, are bits 3j, 3j + 1 and 3j + 2 of the class; 0 is black. After
    256 classes they are used again.
    """
    classes, bits = np.arange(count)[:, None, None], np.arange(8)
    channels = classes >> 3 * bits + np.arange(3)[:, None] & 1
    return (channels << 7 - bits).sum(-1).astype(np.uint8)


def sheet(
    images: Sequence[Image.Image], truths: Sequence[Labels], predictions: Sequence[Labels], classes: Sequence[str]
) -> bytes:
    """A PNG of the images that are `shown`: image, truth and prediction of each, and the classes' colors.

    Args:
        images: any sizes.
        truths: the class of each pixel, or `UNCOUNTED`; the map is drawn to its image's size.
        predictions: the class that each pixel of `truths` is taken for.
        classes: their names.
    """
    chosen = shown(len(images))
    lines = -(-len(chosen) // MAPS)
    named = _most_frequent([each for i in chosen for each in (truths[i], predictions[i])])
    columns = min(MAPS, len(chosen)) * 3
    page = Image.new("RGB", (columns * SIDE, lines * SIDE + _height(len(named), columns)), "white")
    for place, index in enumerate(chosen):
        x, y = place % MAPS * 3 * SIDE, place // MAPS * SIDE
        for column, drawn in enumerate(_drawn(images[index], truths[index], predictions[index])):
            page.paste(drawn, (x + column * SIDE, y))
    _legend(page, lines * SIDE, named, classes, columns)
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def shown(count: int) -> list[int]:
    """Which of so many images are drawn, evenly spaced; no other need be kept."""
    return list(dict.fromkeys(np.linspace(0, count - 1, min(SHOWN, count)).astype(int).tolist()))


def _drawn(image: Image.Image, truth: Labels, predicted: Labels) -> tuple[Image.Image, Image.Image, Image.Image]:
    """The three pictures of one image, in one size."""
    scale = (SIDE - 2) / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    maps = (truth, np.where(truth == UNCOUNTED, UNCOUNTED, predicted))
    first, second = (Image.fromarray(colored(labels)).resize(size, Image.Resampling.NEAREST) for labels in maps)
    return image.convert("RGB").resize(size), first, second


def colored(labels: Labels) -> UInt8[np.ndarray, "h w 3"]:
    """A label map in the colors of its classes."""
    colors = palette(max(int(labels.max(initial=0)) + 1, 1))
    return np.where((labels == UNCOUNTED)[..., None], np.array(UNCOUNTED_COLOR, np.uint8), colors[labels])


def _most_frequent(maps: Sequence[Labels]) -> list[int]:
    """The classes in some maps, those with the most pixels first."""
    found, counts = np.unique(np.concatenate([each.ravel() for each in maps]), return_counts=True)
    kept = found != UNCOUNTED
    order = np.argsort(-counts[kept], kind="stable")[:NAMED]
    return found[kept][order].tolist()


def _height(named: int, columns: int) -> int:
    return -(-named // columns) * LINE


def _legend(page: Image.Image, top: int, named: Sequence[int], classes: Sequence[str], columns: int) -> None:
    pen = ImageDraw.Draw(page)
    for place, label in enumerate(named):
        x, y = place % columns * SIDE, top + place // columns * LINE
        color = tuple(palette(label + 1)[label].tolist())
        pen.rectangle((x + 2, y + 2, x + LINE - 3, y + LINE - 3), fill=color, outline="black")
        pen.text((x + LINE + 2, y + 2), classes[label][:28], fill="black")
