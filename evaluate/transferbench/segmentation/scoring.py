"""How well predicted label maps fit: mean IoU, mean accuracy and pixel accuracy, from counts of pixels per image.

Who averages how, and what each says of an absent class: docs/protocols.md#segmentation-who-says-what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pydantic
from jaxtyping import Float64, Int16, Int64, UInt8
from pydantic import Field

from transferbench import intervals
from transferbench.data.label_maps import UNCOUNTED
from transferbench.errors import UserError
from transferbench.records import Score
from transferbench.settings import Settings

Absent = Literal["left out", "0", "1"]
Averaged = Literal["over the set", "by image"]
METRICS = ("miou", "mean_accuracy", "pixel_accuracy")


class Scoring(Settings):
    """What is made of counted pixels.

    The defaults are those of mmsegmentation's `IoUMetric`, and so of DINOv2 and VICRegL, and of DINOv3 and CAPI in code
    of their own. hummingbird counts an absent class as 0, over the set too.
    """

    absent: Absent = Field(
        "left out", description="a class that nothing is and nothing is taken for: no part of the mean, or so much"
    )
    averaged: Averaged = Field(
        "over the set",
        description="pixels are counted over all images, or each image has scores and these are averaged",
    )

    @pydantic.field_validator("absent", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value


@dataclass(frozen=True)
class PixelCounts:
    """Counted pixels by class, a row an image; a pixel whose true class is `UNCOUNTED` is in none of them.

    Attributes:
        intersection: pixels of the class that are taken for it.
        labeled: pixels of the class.
        predicted: pixels that are taken for it.
    """

    intersection: Int64[np.ndarray, "n c"]
    labeled: Int64[np.ndarray, "n c"]
    predicted: Int64[np.ndarray, "n c"]

    def __len__(self) -> int:
        return len(self.labeled)

    @classmethod
    def joined(cls, parts: Sequence["PixelCounts"]) -> "PixelCounts":
        """The images of all parts, in their order."""
        return cls(
            np.concatenate([part.intersection for part in parts]),
            np.concatenate([part.labeled for part in parts]),
            np.concatenate([part.predicted for part in parts]),
        )


def pixel_counts(
    truth: Int16[np.ndarray, "h w"],
    predicted: UInt8[np.ndarray, "h w"] | Int16[np.ndarray, "h w"] | Int64[np.ndarray, "h w"],
    classes: int,
) -> PixelCounts:
    """The counts of one image, `n` = 1.

    Args:
        truth: the class of each pixel, or `UNCOUNTED`.
        predicted: the class that each is taken for.
        classes: how many there are.

    Raises:
        ValueError: for a number that is no class, or maps of two sizes.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"predicted classes of {predicted.shape} pixels; expected {truth.shape} as the true ones")
    for name, low, labels in (("true", UNCOUNTED, truth), ("predicted", 0, predicted)):
        if labels.size and not low <= labels.min() <= labels.max() < classes:
            raise ValueError(f"{name} classes from {labels.min()} to {labels.max()}; expected {low} to {classes - 1}")
    pairs = np.multiply(truth, classes, dtype=np.int64)
    pairs += predicted
    pairs += classes  # what is not counted comes first
    confusion = np.bincount(pairs.ravel(), minlength=(classes + 1) * classes).reshape(-1, classes)[1:]
    return PixelCounts(confusion.diagonal()[None], confusion.sum(1)[None], confusion.sum(0)[None])


def segmentation_scores(counts: PixelCounts, absent: Absent, averaged: Averaged, split: str = "test") -> list[Score]:
    """`miou`, `mean_accuracy` and `pixel_accuracy` in percent, each with the bootstrap interval over images.

    An image without a counted pixel is no part of them: `n` is how many have one.

    Raises:
        UserError: when no image has.
    """
    has = counts.labeled.any(1)
    if not has.any():
        raise UserError(
            f"No pixel of the {len(counts)} images has a class to be judged by. Expected label maps that hold numbers "
            "of classes: check `ignore_index` and `reduce_labels`, with which every pixel is left out."
        )
    table = np.concatenate([counts.intersection, counts.labeled, counts.predicted], 1)[has].astype(np.float64)
    if averaged == "by image":
        rows = means(table, absent)
        values, bounds = rows.mean(0), intervals.of_sums(rows, lambda sums: sums / len(rows))
    else:
        values, bounds = (
            means(table.sum(0, keepdims=True), absent)[0],
            intervals.of_sums(table, lambda sums: means(sums, absent)),
        )
    return [
        Score(metric=metric, value=100 * float(value), n=len(table), split=split, bootstrap=(100 * low, 100 * high))
        for metric, value, (low, high) in zip(METRICS, values, bounds, strict=True)
    ]


def by_class(counts: PixelCounts, names: Sequence[str]) -> list[dict[str, Any]]:
    """IoU and accuracy of each class over all images, percent, and its pixels; None where a class has neither.

    An IoU is None for a class that nothing is and nothing is taken for, an accuracy for one that nothing is.
    """
    right, labeled, predicted = (each.sum(0) for each in (counts.intersection, counts.labeled, counts.predicted))
    return [
        {
            "class": name,
            "iou": _percent(right[i], labeled[i] + predicted[i] - right[i]),
            "accuracy": _percent(right[i], labeled[i]),
            "labeled": int(labeled[i]),
            "predicted": int(predicted[i]),
        }
        for i, name in enumerate(names)
    ]


def means(table: Float64[np.ndarray, "rows k"], absent: Absent) -> Float64[np.ndarray, "rows 3"]:
    """The `METRICS` of each row, 0 to 1; a row holds the intersections, labeled and predicted pixels of every class.

    IoU is intersection over union, accuracy intersection over labeled pixels, where there are any: `absent` says what
    stands for the others. Pixel accuracy knows no classes.
    """
    right, labeled, predicted = np.split(table, 3, axis=-1)
    iou, accuracy = (_over_classes(right, of, absent) for of in (labeled + predicted - right, labeled))
    return np.stack([iou, accuracy, right.sum(-1) / labeled.sum(-1)], -1)


def _over_classes(
    part: Float64[np.ndarray, "rows c"], whole: Float64[np.ndarray, "rows c"], absent: Absent
) -> Float64[np.ndarray, "rows"]:
    """The mean share of the classes; there must be one that has a share."""
    has = whole > 0
    total = np.divide(part, whole, out=np.zeros_like(part), where=has).sum(-1)
    if absent == "left out":
        return total / has.sum(-1)
    return (total + int(absent) * (~has).sum(-1)) / whole.shape[-1]


def _percent(part: np.int64, whole: np.int64) -> float | None:
    return 100 * float(part) / float(whole) if whole else None
