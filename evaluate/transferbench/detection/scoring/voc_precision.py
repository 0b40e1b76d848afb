"""PASCAL VOC's average precision with the rounding that its submission files bring, as Detectron2 reports it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from transferbench.data.annotations import Annotated, Annotation
from transferbench.detection.scoring.coco_precision import Precision

THRESHOLDS = tuple(range(50, 100, 5))
"""Overlaps, percent."""

Truth = tuple[np.ndarray, np.ndarray]
"""Of an image: corners in VOC's counting, `n 4`, and which are difficult."""


def precision(results: Sequence[dict[str, Any]], annotated: Annotated, classes: Sequence[str]) -> Precision:
    """The mean over classes of the average precision, over overlaps of 50 to 95 percent, at 50 and at 75.

    Scores have 3 decimals; corners 1, counted from 1, and both belong to the box (docs/protocols.md#voc-precision).
    The set's year says whether precision is interpolated at 11 points (2007) or its area taken (2012).
    """
    at_11_points = annotated.scoring == "voc2007"
    columns = []
    for label, category in enumerate(annotated.categories):
        truth = {
            image: _boxes(annotations, label)
            for image, annotations in zip(annotated.ids, annotated.objects, strict=True)
        }
        mine = [each for each in results if each["category_id"] == category]
        columns.append([_of_class(mine, truth, threshold / 100, at_11_points) for threshold in THRESHOLDS])
    table = np.array(columns).T
    values = {"ap": table.mean(), "ap50": table[0].mean(), "ap75": table[THRESHOLDS.index(75)].mean()}
    return Precision({name: 100 * float(v) for name, v in values.items()}, _by_class(table, classes))


def _by_class(table: Float[np.ndarray, "t c"], classes: Sequence[str]) -> dict[str, float]:
    return {name: 100 * float(value) for name, value in zip(classes, table.mean(0), strict=True)}


def _of_class(
    mine: Sequence[dict[str, Any]], truth: Mapping[int | str, Truth], threshold: float, at_11_points: bool
) -> float:
    """The average precision of a class, surest detections first; equal scores stay in the results' order."""
    wanted = sum(int((~difficult).sum()) for _, difficult in truth.values())
    if not wanted:
        return 0.0
    scores = np.array([round(each["score"], 3) for each in mine])
    matched = {image: np.zeros(len(boxes), bool) for image, (boxes, _) in truth.items()}
    hits, misses = np.zeros(len(mine)), np.zeros(len(mine))
    for place, at in enumerate(np.argsort(-scores, kind="stable").tolist()):
        image = mine[at]["image_id"]
        boxes, difficult = truth[image]
        overlaps = _overlaps(_rounded(mine[at]["bbox"]), boxes)
        best = int(overlaps.argmax()) if len(overlaps) else -1
        if best < 0 or overlaps[best] <= threshold or (matched[image][best] and not difficult[best]):
            misses[place] = 1
        elif not difficult[best]:
            hits[place], matched[image][best] = 1, True
    true, false = hits.cumsum(), misses.cumsum()
    return average(true / wanted, true / np.maximum(true + false, np.finfo(float).eps), at_11_points)


def average(recall: Float[np.ndarray, "n"], precision: Float[np.ndarray, "n"], at_11_points: bool) -> float:
    """The mean of the best precision at recalls 0, .1, ... 1 and beyond (2007), or the area under its envelope."""
    if at_11_points:
        best = [precision[recall >= point].max(initial=0.0) for point in np.arange(0.0, 1.1, 0.1)]
        return float(sum(value / 11.0 for value in best))
    recall = np.concatenate([[0.0], recall, [1.0]])
    envelope = np.maximum.accumulate(np.concatenate([[0.0], precision, [0.0]])[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * envelope[steps + 1]).sum())


def _boxes(annotations: Sequence[Annotation], label: int) -> Truth:
    """Of an image's objects those of a class."""
    mine = [each for each in annotations if each.label == label]
    corners = [(x + 1, y + 1, x + width, y + height) for (x, y, width, height), *_ in mine]
    return np.array(corners, float).reshape(-1, 4), np.array([each.difficult for each in mine], bool)


def _rounded(box: Sequence[float]) -> np.ndarray:
    x, y, width, height = box
    return np.array([float(f"{value:.1f}") for value in (x + 1, y + 1, x + width, y + height)])


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union; borders belong to boxes, so a width is a difference and 1."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = np.maximum(high - low + 1, 0).prod(1)
    return shared / ((box[2:] - box[:2] + 1).prod() + (boxes[:, 2:] - boxes[:, :2] + 1).prod(1) - shared)
