"""Test images with what was found in them drawn on, by PIL alone."""

import colorsys
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from transferbench.data import LabeledImages
from transferbench.detection.scoring.results import of_image
from transferbench.detection.targets.rle import decoded

SIDE = 256
"""Pixels that the longer side of an image is drawn with."""
COLUMNS, SHOWN = 4, 8
LEAST = 0.3
"""Detections below this score are not drawn."""


def sheet(images: LabeledImages, results: Sequence[dict[str, Any]]) -> bytes:
    """A PNG of some images of the split, evenly spaced: boxes, classes with scores, and masks as tints."""
    chosen = np.linspace(0, len(images) - 1, min(SHOWN, len(images))).astype(int).tolist()
    rows = -(-len(chosen) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * SIDE, rows * SIDE), "white")
    for place, index in enumerate(dict.fromkeys(chosen)):
        detections = of_image(results, images.boxes.ids[index])
        page.paste(drawn(images, index, detections), (place % COLUMNS * SIDE, place // COLUMNS * SIDE))
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def drawn(images: LabeledImages, index: int, detections: Sequence[dict[str, Any]]) -> Image.Image:
    """One image with its findings, the least sure first, so that the surest lie on top."""
    categories = images.boxes.categories
    image = images.upright(index)
    shown = sorted((each for each in detections if each["score"] >= LEAST), key=lambda each: each["score"])
    for each in shown:
        if "segmentation" in each:
            image = _tinted(image, decoded(each["segmentation"]), _color(categories.index(each["category_id"])))
    scale = SIDE / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    pen = ImageDraw.Draw(image)
    for each in shown:
        x, y, width, height = (value * scale for value in each["bbox"])
        label = categories.index(each["category_id"])
        pen.rectangle((x, y, x + width, y + height), outline=_color(label), width=2)
        pen.text((x + 3, y + 1), f"{images.info.classes[label]} {each['score']:.2f}", fill=_color(label))
    return image


def _tinted(image: Image.Image, mask: np.ndarray, color: tuple[int, int, int]) -> Image.Image:
    return Image.composite(
        Image.blend(image, Image.new("RGB", image.size, color), 0.5),
        image,
        Image.fromarray(mask.astype(np.uint8) * 255),
    )


def _color(label: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
