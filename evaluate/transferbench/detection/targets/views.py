"""From an annotated image to what a detector takes: resized as Detectron2 resizes, flipped, empty objects left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor

from transferbench.data import LabeledImages
from transferbench.data.annotations import Annotation
from transferbench.detection.targets import rle
from transferbench.detection.targets.rle import decoded as decoded_runs
from transferbench.detection.targets.samples import Objects, Sample
from transferbench.errors import UserError

EMPTY = 1e-5
"""Boxes that are no wider or higher, in pixels, are no objects (Detectron2's `filter_empty_instances`)."""


def scaled(size: tuple[int, int], shorter: int, longest: int) -> tuple[int, int]:
    """Height and width with the shorter side made `shorter` pixels, or less where the other would exceed `longest`.

    Detectron2's `ResizeShortestEdge`: halves are rounded up; 0 leaves the image as it is.
    """
    if shorter == 0:
        return size
    height, width = size
    scale = shorter / min(height, width)
    new_height, new_width = (shorter, scale * width) if height < width else (scale * height, shorter)
    if max(new_height, new_width) > longest:
        scale = longest / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    return int(new_height + 0.5), int(new_width + 0.5)


def sample(images: LabeledImages, index: int, shorter: int, longest: int) -> Sample:
    """An image as it is tested.

    Raises:
        UserError: for an image that cannot be decoded, or is of another size than its annotations say.
    """
    image = decoded(images, index)
    height, width = size = (image.height, image.width)
    return Sample(pixels(image, scaled(size, shorter, longest), False), (height, width))


def training_sample(
    images: LabeledImages, index: int, limits: tuple[int, int], flips: bool, with_masks: bool
) -> Sample:
    """An image as it is trained on; `limits` are those of the shorter and of the longer side."""
    image = decoded(images, index)
    size = (image.height, image.width)
    to = scaled(size, *limits)
    kept = [each for each in images.boxes.objects[index] if is_trained_on(each, with_masks)]
    return Sample(pixels(image, to, flips), size, objects(kept, size, to, flips, with_masks))


def is_trained_on(each: Annotation, with_masks: bool) -> bool:
    """Whether an object is learned: no crowd, and with a mask where masks are."""
    return not each.crowd and (each.mask is not None or not with_masks)


def decoded(images: LabeledImages, index: int) -> Image.Image:
    """The image, if it is of the size that its annotations are for."""
    image, (height, width) = images.image(index), images.boxes.sizes[index]
    if (image.height, image.width) != (height, width):
        raise UserError(
            f"The image '{images.names[index]}' of {images.info.name} is {image.width} x {image.height} pixels; its "
            f"annotations are for {width} x {height}. Use the image that they were made for."
        )
    return image


def pixels(image: Image.Image, size: tuple[int, int], flips: bool) -> Float32[Tensor, "3 h w"]:
    """RGB from 0 to 255, resized by PIL's bilinear filter in 8 bits (docs/protocols.md#torchvision)."""
    height, width = size
    resized = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(resized, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray((array[:, ::-1] if flips else array).transpose(2, 0, 1)))


def objects(
    found: Sequence[Annotation], size: tuple[int, int], to: tuple[int, int], flips: bool, with_masks: bool
) -> Objects:
    """Annotations of an image of one `size` in pixels of the resized one; boxes are cut at its borders."""
    scale = np.array([to[1] / size[1], to[0] / size[0]] * 2)
    corners = np.array([(x, y, x + w, y + h) for (x, y, w, h), *_ in found], np.float64).reshape(-1, 4) * scale
    if flips:
        corners[:, [0, 2]] = to[1] - corners[:, [2, 0]]
    corners = np.clip(corners, 0, [to[1], to[0]] * 2).astype(np.float32)
    solid = np.atleast_1d(((corners[:, 2:] - corners[:, :2]) > EMPTY).all(1))
    kept = [each for each, is_solid in zip(found, solid, strict=True) if is_solid]
    boxes = torch.from_numpy(corners[solid])
    labels = torch.tensor([each.label for each in kept], dtype=torch.int64)
    if not with_masks:
        return Objects(boxes, labels)
    outlines = [_outlines(each.mask, scale[:2], to[1] if flips else None) for each in kept]
    if all(isinstance(each.mask, list) for each in kept):
        return Objects(boxes, labels, polygons=outlines)
    return Objects(boxes, labels, rles=[_code(each.mask, size, to, flips) for each in kept])


def _outlines(mask: Any, scale: np.ndarray, width: int | None) -> list[np.ndarray]:
    """The outlines resized, and flipped in an image `width` pixels wide; none of a mask in another form."""
    if not isinstance(mask, list):
        return []
    resized = [np.asarray(outline, np.float64) * np.tile(scale, len(outline) // 2) for outline in mask]
    if width is not None:
        for outline in resized:
            outline[::2] = width - outline[::2]
    return resized


def _code(mask: Any, size: tuple[int, int], to: tuple[int, int], flips: bool) -> Mapping[str, Any]:
    """A mask as run lengths of the resized image: by the nearest pixel, as Detectron2's bitmaps."""
    bitmap = Image.fromarray(decoded_runs(rle.compact(mask, size)).astype(np.uint8))
    resized = np.asarray(bitmap.resize((to[1], to[0]), Image.Resampling.NEAREST))
    return rle.encode(resized[:, ::-1] if flips else resized)
