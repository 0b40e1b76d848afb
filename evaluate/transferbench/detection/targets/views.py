"""From an annotated image to what a detector takes: resized as Detectron2 resizes, flipped, empty objects left out."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32
from PIL import Image
from torch import Tensor

from transferbench.data import LabeledImages, decoding
from transferbench.data.annotations import Annotation
from transferbench.detection.targets import rle
from transferbench.detection.targets.samples import Objects, Sample
from transferbench.errors import UserError

Masks = Literal["outlines", "bitmaps"]
"""How masks are learned: as outlines where a set has nothing else, as in COCO, else as bitmaps; so does Detectron2."""

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
    masks: Masks = "bitmaps" if images.boxes.packed.coded else "outlines"
    return Sample(pixels(image, to, flips), size, objects(kept, size, to, flips, masks if with_masks else None))


def is_trained_on(each: Annotation, with_masks: bool) -> bool:
    """Whether an object is learned: no crowd, with a mask where masks are, its outlines enclosing something."""
    return not each.crowd and each.mask != [] and (each.mask is not None or not with_masks)


def decoded(images: LabeledImages, index: int) -> Image.Image:
    """The image, turned by its EXIF orientation, if it is of the size that its annotations are for.

    Raises:
        UserError: when it is not, or cannot be decoded.
    """
    image, (height, width) = images.upright(index), images.boxes.sizes[index]
    if (image.height, image.width) != (height, width):
        turned = decoding.orientation(images.read(index))
        why = f" once turned by its EXIF orientation {turned}, as Detectron2 reads it" if turned > 1 else ""
        raise UserError(
            f"The image '{images.names[index]}' of {images.info.name} is {image.width} x {image.height} pixels{why}; "
            f"its annotations are for {width} x {height}. Use the image that they were made for."
        )
    return image


def pixels(image: Image.Image, size: tuple[int, int], flips: bool) -> Float32[Tensor, "3 h w"]:
    """RGB from 0 to 255, resized by PIL's bilinear filter in 8 bits (docs/protocols.md#torchvision)."""
    height, width = size
    resized = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)
    array = np.asarray(resized, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray((array[:, ::-1] if flips else array).transpose(2, 0, 1)))


def objects(
    annotations: Sequence[Annotation], size: tuple[int, int], to: tuple[int, int], flips: bool, masks: Masks | None
) -> Objects:
    """Annotations of an image of one `size` in pixels of the resized one; boxes are cut at its borders.

    Boxes without width or height are left out, and bitmaps without a pixel, as Detectron2's `filter_empty_instances`
    leaves them out; outlines stay whatever they enclose.
    """
    scale = np.array([to[1] / size[1], to[0] / size[0]] * 2)
    corners = np.array([(x, y, x + w, y + h) for (x, y, w, h), *_ in annotations], np.float64).reshape(-1, 4) * scale
    if flips:
        corners[:, [0, 2]] = to[1] - corners[:, [2, 0]]
    corners = np.clip(corners, 0, [to[1], to[0]] * 2).astype(np.float32)
    is_kept = np.atleast_1d(((corners[:, 2:] - corners[:, :2]) > EMPTY).all(1))
    bitmaps = [_bitmap(each.mask, size, to, flips) for each in annotations] if masks == "bitmaps" else []
    if bitmaps:
        is_kept &= np.array([each.any() for each in bitmaps])
    kept = [each for each, is_one in zip(annotations, is_kept, strict=True) if is_one]
    boxes = torch.from_numpy(corners[is_kept])
    labels = torch.tensor([each.label for each in kept], dtype=torch.int64)
    if masks == "outlines":
        return Objects(boxes, labels, polygons=[_outlines(each.mask, scale[:2], to[1], flips) for each in kept])
    if masks == "bitmaps":
        codes: list[Mapping[str, Any]] = [
            rle.encode(each) for each, is_one in zip(bitmaps, is_kept, strict=True) if is_one
        ]
        return Objects(boxes, labels, rles=codes)
    return Objects(boxes, labels)


def _outlines(mask: Any, scale: np.ndarray, width: int, flips: bool) -> list[np.ndarray]:
    """The outlines resized, and flipped in an image `width` pixels wide."""
    resized = [np.asarray(outline, np.float64) * np.tile(scale, len(outline) // 2) for outline in mask]
    if flips:
        for outline in resized:
            outline[::2] = width - outline[::2]
    return resized


def _bitmap(mask: Any, size: tuple[int, int], to: tuple[int, int], flips: bool) -> Bool[np.ndarray, "h w"]:
    """A mask on the resized image, as Detectron2 makes it: outlines drawn there, run lengths by the nearest pixel."""
    if isinstance(mask, list):
        scale = np.array([to[1] / size[1], to[0] / size[0]])
        return rle.decoded(rle.compact([each.tolist() for each in _outlines(mask, scale, to[1], flips)], to))
    bitmap = Image.fromarray(rle.decoded(rle.compact(mask, size)).astype(np.uint8))
    resized = np.asarray(bitmap.resize((to[1], to[0]), Image.Resampling.NEAREST)) > 0
    return resized[:, ::-1] if flips else resized
