"""Masks: an object's outline on the grid of a box, and a box's grid on an image."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from transferbench.detection.targets.boxes import Size
from transferbench.detection.targets.polygons import filled
from transferbench.detection.targets.rle import decoded
from transferbench.detection.targets.samples import Detections, Objects
from transferbench.errors import UserError

SMALLEST_SIDE = 0.1
"""Pixels; a box's side counts as no shorter when an outline is stretched over its grid."""


def targets(
    objects: Objects, chosen: Int64[Tensor, " r"], boxes: Float[Tensor, "r 4"], side: int
) -> Bool[Tensor, "r side side"]:
    """The masks of the objects of the numbers `chosen`, each on a grid of `side` by `side` over its box.

    Raises:
        UserError: when the objects have no masks.
    """
    if objects.polygons is None and objects.rles is None and len(chosen):
        raise UserError(
            "MODEL.MASK_ON is True and these annotations have no masks. Set it to False, or annotate masks."
        )
    grids = [_target(objects, number, box, side) for number, box in zip(chosen.tolist(), boxes.cpu(), strict=True)]
    return torch.stack(grids).to(boxes.device) if grids else boxes.new_zeros((0, side, side), dtype=torch.bool)


def _target(objects: Objects, number: int, box: Tensor, side: int) -> Tensor:
    if objects.polygons is not None:
        return from_outlines(objects.polygons[number], box, side)
    assert objects.rles is not None
    return from_bitmap(decoded(objects.rles[number]), box, side)


def from_outlines(outlines: Sequence[np.ndarray], box: Float[Tensor, "4"], side: int) -> Bool[Tensor, "s s"]:
    """The object as a grid of `side` by `side` over the box, drawn from its outlines at that resolution.

    The outlines are scaled, not a mask: what Detectron2 does with polygons (docs/protocols.md#torchvision).
    """
    corner = box[:2].cpu().numpy()
    lengths = np.maximum((box[2:] - box[:2]).cpu().numpy(), np.float32(SMALLEST_SIDE))
    scale = np.float32(side) / lengths
    moved = [(np.asarray(each, np.float64).reshape(-1, 2) - corner) * scale for each in outlines]
    return torch.from_numpy(filled(moved, side, side))


def from_bitmap(bitmap: Bool[np.ndarray, "h w"], box: Float[Tensor, "4"], side: int) -> Bool[Tensor, "s s"]:
    """The object as a grid over the box, from a mask of the whole image: averaged in each place, then halved."""
    from torchvision.ops import roi_align  # imported where boxes are found: it takes longer than torch

    image = torch.from_numpy(np.ascontiguousarray(bitmap))[None, None].float()
    regions = roi_align(image, [box[None].cpu()], side, sampling_ratio=0, aligned=True)
    return regions[0, 0] >= 0.5


def paste(detections: Detections, size: Size) -> Bool[Tensor, "m h w"]:
    """The masks of detections on the original image: each pixel's center looked up on the box's grid, at least 0.5.

    Pixels whose centers lie off the grid's outermost centers fade to 0 (docs/protocols.md#torchvision).
    """
    pasted = torch.zeros(len(detections.boxes), *size, dtype=torch.bool, device=detections.boxes.device)
    if detections.masks is None:
        raise ValueError("these detections have no masks")
    for image, box, mask in zip(pasted, detections.boxes, detections.masks, strict=True):
        _paste_one(image, box, mask)
    return pasted


def _paste_one(image: Tensor, box: Tensor, mask: Tensor) -> None:
    """Write a mask into the pixels around its box."""
    height, width = image.shape
    left, top = (max(0, int(edge) - 1) for edge in box[:2].floor())
    right, bottom = int(box[2].ceil()) + 1, int(box[3].ceil()) + 1
    right, bottom = min(width, right), min(height, bottom)
    x = torch.arange(left, right, device=box.device, dtype=torch.float32) + 0.5
    y = torch.arange(top, bottom, device=box.device, dtype=torch.float32) + 0.5
    x, y = ((x - box[0]) / (box[2] - box[0]) * 2 - 1), ((y - box[1]) / (box[3] - box[1]) * 2 - 1)
    places = torch.stack((x.expand(len(y), len(x)), y[:, None].expand(len(y), len(x))), -1)
    looked_up = F.grid_sample(mask.float()[None, None], places[None], align_corners=False)
    image[top:bottom, left:right] = looked_up[0, 0] >= 0.5
