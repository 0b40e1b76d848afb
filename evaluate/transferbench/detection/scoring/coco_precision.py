"""COCO's average precision of boxes and masks, by pycocotools or, with the same figures, by hotcoco."""

import contextlib
import importlib.util
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from transferbench.data.annotations import Annotated, Annotation
from transferbench.detection.targets import rle
from transferbench.errors import UserError

Kind = Literal["box", "mask"]
CocoEngine = Literal["pycocotools", "hotcoco"]

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
"""The first six of COCO's twelve figures, in its order."""
_threads: dict[str, int] = {}
"""The process in which hotcoco (1.3.0) started its threads: in a fork of that it would wait for them without end."""
TYPES: dict[Kind, Literal["bbox", "segm"]] = {"box": "bbox", "mask": "segm"}


@dataclass(frozen=True)
class Precision:
    """Percent; `values` by name such as `ap50`, `classes` by class over all thresholds; without what has no object."""

    values: dict[str, float]
    classes: dict[str, float]


def engine() -> CocoEngine:
    """The faster one where it is installed, and can be used in this process.

    Raises:
        UserError: when neither is.
    """
    if importlib.util.find_spec("hotcoco") and _threads.get("process", os.getpid()) == os.getpid():
        return "hotcoco"
    rle.library()
    return "pycocotools"


def precision(
    results: Sequence[dict[str, Any]],
    annotated: Annotated,
    classes: Sequence[str],
    kind: Kind,
    by: CocoEngine | None = None,
) -> Precision:
    """How well results in COCO's form fit the annotations, over IoU .50:.05:.95 and at most 100 an image.

    Raises:
        UserError: where no object is annotated, for masks where some are missing, or for results of images or
            categories that are not there.
    """
    if kind == "mask" and not annotated.packed.masked.all():
        raise UserError("Masks cannot be judged: some objects have none annotated. Set MODEL.MASK_ON to False.")
    judge = evaluated(results, annotated, kind, by or engine())
    if judge is None:
        return Precision(dict.fromkeys(("ap", "ap50", "ap75"), 0.0), {})
    table = np.asarray(judge.eval["precision"])[:, :, :, 0, -1]  # thresholds, recalls, classes
    means = {name: _mean(table[:, :, i]) for i, name in enumerate(classes)}
    values = {name: 100 * float(value) for name, value in zip(NAMES, judge.stats, strict=False) if value >= 0}
    return Precision(values, {name: value for name, value in means.items() if value is not None})


def evaluated(results: Sequence[dict[str, Any]], annotated: Annotated, kind: Kind, by: CocoEngine) -> Any:
    """The evaluator after its run, None when there is nothing to evaluate; images are numbered from 1 for it."""
    number = {image: i for i, image in enumerate(annotated.ids, 1)}
    if strange := [entry for entry in results if entry["image_id"] not in number]:
        raise UserError(f"Results are for images that are not there, such as {strange[0]['image_id']}.")
    if strange := [entry for entry in results if entry["category_id"] not in annotated.categories]:
        raise UserError(
            f"Results are of category {strange[0]['category_id']}; "
            f"the data has {', '.join(map(str, annotated.categories))}."
        )
    if not annotated.judged:
        raise UserError("Nothing can be judged: no object is annotated that is no crowd.")
    if not results:
        return None
    # Without their boxes masks have their own area, by which they are small, medium or large.
    dropped = {"bbox"} if kind == "mask" else {"segmentation"}
    entries = [{k: v for k, v in each.items() if k not in dropped} for each in results]
    entries = [{**each, "image_id": number[each["image_id"]]} for each in entries]
    with contextlib.redirect_stdout(io.StringIO()):
        work = _judge(by, _truth(annotated, kind), entries, kind)
        work.evaluate()
        work.accumulate()
        work.summarize()
    return work


def _judge(by: CocoEngine, truth: dict[str, Any], entries: list[dict[str, Any]], kind: Kind) -> Any:
    """The library's evaluator."""
    if by == "hotcoco":
        import hotcoco

        _threads.setdefault("process", os.getpid())
        table = hotcoco.COCO(truth)
        return hotcoco.COCOeval(table, table.load_res(entries), TYPES[kind])
    rle.library()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    table: Any = COCO()
    table.dataset = truth
    table.createIndex()
    return COCOeval(table, table.loadRes(entries), TYPES[kind])


def _truth(annotated: Annotated, kind: Kind) -> dict[str, Any]:
    sizes = enumerate(annotated.sizes, 1)
    images = enumerate(annotated.objects, 1)
    objects = [(i, each) for i, annotations in images for each in annotations if kind == "box" or each.mask != []]
    return {
        "info": {},
        "images": [{"id": i, "height": height, "width": width} for i, (height, width) in sizes],
        "categories": [{"id": category, "name": str(category)} for category in annotated.categories],
        "annotations": [
            _entry(number, image, each, annotated, kind) for number, (image, each) in enumerate(objects, 1)
        ],
    }


def _entry(number: int, image: int, each: Annotation, annotated: Annotated, kind: Kind) -> dict[str, Any]:
    entry = {
        "id": number,
        "image_id": image,
        "category_id": annotated.categories[each.label],
        "bbox": list(each.box),
        "area": each.box[2] * each.box[3] if each.area is None else each.area,
        "iscrowd": int(each.crowd),
    }
    return entry if kind == "box" else entry | {"segmentation": rle.compact(each.mask, annotated.sizes[image - 1])}


def _mean(table: np.ndarray) -> float | None:
    known = table[table > -1]
    return 100 * float(known.mean()) if known.size else None
