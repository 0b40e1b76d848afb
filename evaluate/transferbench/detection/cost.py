"""What training and testing a detector takes here, estimated from its parts on one image of the usual size."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from transferbench.data import LabeledImages
from transferbench.detection.model.detector import Detector
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.targets.samples import Sample
from transferbench.detection.targets.views import scaled, training_sample
from transferbench.detection.training import optimization
from transferbench.detection.training.loader import trainable
from transferbench.optim import UPDATE
from transferbench.runtime.clock import fastest

REGIONS = 16
"""How many regions the heads are timed on where all of them would take long: their cost is by region."""
LOOKED_AT = 1000
"""Images whose sizes say how large images are."""

LONG = 0.5
"""Seconds of a part from which on it is timed once."""


@dataclass(frozen=True)
class Cost:
    """Of one image, in seconds and bytes.

    Attributes:
        read: to decode, resize and annotate it.
        passed: one forward pass in training.
        tested: to find what is in it.
        held: outputs of all layers, which training keeps.
    """

    read: float
    passed: float
    tested: float
    held: int


@dataclass(frozen=True)
class Parts:
    """Seconds and bytes of a detector's parts: maps and proposals by pixel, and by region its vector and its mask.

    A C4 detector's mask is made from the vector's map, which is counted in both: in training it is computed once.
    """

    pixel: float
    region: float
    mask: float
    bytes_of_pixel: float
    bytes_of_region: float


def of_image(detector: Detector, images: LabeledImages, recipe: DetectionRecipe) -> Cost:
    """What an image of the usual size costs, counted with the recipe's sizes and numbers of regions."""
    sizes, index = _usual(images, recipe)
    limits = int(np.median(recipe.INPUT.MIN_SIZE_TRAIN)), recipe.INPUT.MAX_SIZE_TRAIN
    begun = time.perf_counter()
    sample = training_sample(images, index, limits, False, recipe.MODEL.MASK_ON)
    read = time.perf_counter() - begun
    keys = recipe.MODEL
    with torch.no_grad(), optimization.half(recipe, detector.mean.device):
        parts = _parts(detector.eval(), sample, keys.ROI_HEADS.BATCH_SIZE_PER_IMAGE)
    drawn = min(keys.ROI_HEADS.BATCH_SIZE_PER_IMAGE, keys.RPN.POST_NMS_TOPK_TRAIN)
    once = parts.region if detector.pyramid is None else 0.0
    masks = drawn * keys.ROI_HEADS.POSITIVE_FRACTION * max(0.0, parts.mask - once)
    most, proposed = recipe.TEST.DETECTIONS_PER_IMAGE, keys.RPN.POST_NMS_TOPK_TEST
    kept = proposed if most < 0 else min(most, proposed)
    trained = _mean_area(sizes, recipe.INPUT.MIN_SIZE_TRAIN, recipe.INPUT.MAX_SIZE_TRAIN)
    tested = _mean_area(sizes, (recipe.INPUT.MIN_SIZE_TEST,), recipe.INPUT.MAX_SIZE_TEST)
    return Cost(
        read,
        parts.pixel * trained + parts.region * drawn + masks,
        parts.pixel * tested + parts.region * proposed + parts.mask * kept,
        round(parts.bytes_of_pixel * trained + parts.bytes_of_region * drawn),
    )


def total(cost: Cost, recipe: DetectionRecipe, tests: int, processes: int, workers: int) -> tuple[float, int]:
    """Seconds and bytes, of each process, to train by the recipe, settle its statistics and test `tests` images."""
    solver, precise = recipe.SOLVER, recipe.TEST.PRECISE_BN
    trained = solver.MAX_ITER * solver.IMS_PER_BATCH
    settled = precise.NUM_ITER * solver.IMS_PER_BATCH if precise.ENABLED else 0
    compute = cost.passed * (UPDATE * trained + settled)
    read = cost.read * (trained + settled) / max(1, workers)
    fed = max(compute, read) if workers else compute + read
    return (fed + (cost.tested + cost.read) * tests) / processes, cost.held * solver.IMS_PER_BATCH // processes


def _parts(detector: Detector, sample: Sample, regions: int) -> Parts:
    device = detector.mean.device
    size = int(sample.pixels.shape[1]), int(sample.pixels.shape[2])
    pixels = size[0] * size[1]

    def propose() -> tuple[list[Tensor], list[Tensor]]:
        maps = detector.maps([sample])
        return maps, detector.rpn.proposals(detector.rpn(maps), [size])

    below = _outputs(propose, (part for name, part in detector.named_modules() if not name.startswith("heads")))
    maps, (proposals,) = propose()
    if not len(proposals):  # of a network whose features are not finite
        proposals = torch.tensor([[0.0, 0.0, size[1], size[0]]], device=device)
    count = min(len(proposals), regions if device.type == "cuda" else REGIONS)
    boxes, labels = [proposals[:count]], [torch.zeros(count, dtype=torch.int64, device=device)]
    above = _outputs(lambda: detector.heads.look(maps, boxes), detector.heads.modules())
    detector.heads.masks_of(maps, boxes, labels)
    return Parts(
        _clock(propose, device) / pixels,
        _clock(lambda: detector.heads.look(maps, boxes), device) / count,
        _clock(lambda: detector.heads.masks_of(maps, boxes, labels), device) / count,
        below / pixels,
        above / count,
    )


def _outputs(work: Callable[[], object], modules: Iterable[nn.Module]) -> int:
    """Bytes that the layers give while something is done, which also warms them up."""
    sizes: list[int] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.append(0 if output.data_ptr() == inputs[0].data_ptr() else output.nbytes)

    hooks = [part.register_forward_hook(note) for part in modules if not list(part.children())]
    work()
    for hook in hooks:
        hook.remove()
    return sum(sizes)


def _clock(work: Callable[[], object], device: torch.device) -> float:
    """Seconds; the fastest of three where other programs could have doubled it."""
    return fastest(work, device, 3, LONG)


def _usual(images: LabeledImages, recipe: DetectionRecipe) -> tuple[list[tuple[int, int]], int]:
    """Sizes of images that are spread over the split, and a trained one of about the median size."""
    learned = trainable(images, recipe.MODEL.MASK_ON) or list(range(len(images)))
    spread = np.linspace(0, len(learned) - 1, min(LOOKED_AT, len(learned))).astype(int).tolist()
    chosen = [learned[i] for i in spread]
    sizes = [images.boxes.sizes[i] for i in chosen]
    order = np.argsort([height * width for height, width in sizes], kind="stable")
    return sizes, chosen[int(order[len(order) // 2])]


def _mean_area(sizes: Sequence[tuple[int, int]], shorter: Sequence[int], longest: int) -> float:
    """Pixels of the images, resized."""
    return float(np.mean([np.prod(scaled(size, side, longest)) for side in shorter for size in sizes]))
