"""Run a trained detector over a split, and its findings as COCO's results JSON, which other tools can score."""

from collections.abc import Sequence
from typing import Any

import torch

from transferbench import stopping
from transferbench.data import LabeledImages
from transferbench.data.annotations import Annotated
from transferbench.detection.model.detector import Detector
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.targets import rle
from transferbench.detection.targets.masks import paste
from transferbench.detection.targets.samples import Detections
from transferbench.detection.targets.views import sample
from transferbench.detection.training import out_of_memory
from transferbench.runtime import Runtime

Results = list[dict[str, Any]]


def predict(detector: Detector, images: LabeledImages, recipe: DetectionRecipe, runtime: Runtime) -> Results:
    """What the detector finds, one image at a time as Detectron2 tests; the same list in every process.

    Raises:
        UserError: for an image that cannot be decoded, or too little memory.
    """
    was_training = detector.training
    detector.to(runtime.device).eval()
    limits = recipe.INPUT.MIN_SIZE_TEST, recipe.INPUT.MAX_SIZE_TEST
    mine: dict[int, Results] = {}
    with out_of_memory.for_testing(recipe):
        for index in range(runtime.rank, len(images), runtime.world_size):
            stopping.check()
            (detections,) = detector.detect([sample(images, index, *limits)])
            mine[index] = listed(detections, index, images.boxes)
    detector.train(was_training)
    parts = {index: part for each in runtime.gather_objects(mine) for index, part in each.items()}
    return [entry for index in sorted(parts) for entry in parts[index]]


def listed(detections: Detections, index: int, annotated: Annotated) -> Results:
    """The findings in one image: `bbox` as x, y, width and height, masks pasted and run-length coded."""
    boxes = detections.boxes.cpu()
    corners = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
    scores, labels = detections.scores.tolist(), detections.labels.tolist()
    entries: Results = [
        {"image_id": annotated.ids[index], "category_id": annotated.categories[label], "bbox": box, "score": score}
        for box, score, label in zip(corners, scores, labels, strict=True)
    ]
    if detections.masks is None:
        return entries
    pasted = paste(detections, annotated.sizes[index]).cpu().numpy()
    return [{**entry, "segmentation": rle.encode(mask)} for entry, mask in zip(entries, pasted, strict=True)]


def of_image(results: Sequence[dict[str, Any]], image: int | str) -> Results:
    """The findings in the image of that id."""
    return [entry for entry in results if entry["image_id"] == image]
