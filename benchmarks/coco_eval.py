"""hotcoco against faster-coco-eval, which was used before, and pycocotools: the same results, the same figures.

    pip install faster-coco-eval
    python benchmarks/coco_eval.py               # two to three minutes of one core
    python benchmarks/coco_eval.py 200           # that many images

One thread (RAYON_NUM_THREADS=1), process CPU time, medians of `REPEATS` runs in turn; pycocotools runs once. About
36,000 objects of 80 classes, 1 % of them crowds, and 42 findings an image: boxes and elliptic masks near the objects,
and as many elsewhere.
"""

import os

os.environ["RAYON_NUM_THREADS"] = "1"  # before the library reads it

import statistics
import sys
import time
from typing import Any
from unittest.mock import patch

import numpy as np

from transferbench.data.annotations import Annotated, Annotation
from transferbench.detection.scoring import coco_precision
from transferbench.detection.scoring.coco_precision import Kind, evaluated
from transferbench.detection.targets import rle

SIZE, CLASSES, FOUND, REPEATS = (96, 128), 80, 42, 5
ENGINES = ("faster-coco-eval", "hotcoco", "pycocotools")
KINDS: tuple[Kind, ...] = ("box", "mask")


def ellipse(box: np.ndarray) -> dict:
    y, x = np.ogrid[: SIZE[0], : SIZE[1]]
    middle, radii = box[:2] + box[2:] / 2, np.maximum(box[2:] / 2, 0.5)
    return rle.encode(((x - middle[0]) / radii[0]) ** 2 + ((y - middle[1]) / radii[1]) ** 2 <= 1)


def box(rng: np.random.Generator) -> np.ndarray:
    size = np.exp(rng.uniform(np.log(4), np.log(90), 2))
    return np.concatenate([rng.uniform(0, 1, 2) * np.maximum(np.array(SIZE[::-1]) - size, 1), size])


def world(images: int) -> tuple[Annotated, list[dict]]:
    rng = np.random.default_rng(0)
    objects: list[tuple[Annotation, ...]] = []
    results: list[dict] = []
    for image in range(images):
        here: list[Annotation] = []
        for _ in range(int(rng.poisson(7.2))):
            at, label, is_crowd = box(rng), int(rng.integers(CLASSES)), bool(rng.random() < 0.01)
            x, y, width, height = at.tolist()
            here.append(Annotation((x, y, width, height), label, ellipse(at), width * height * np.pi / 4, is_crowd))
        for _ in range(FOUND):
            source = here[int(rng.integers(len(here)))] if here and rng.random() < 0.5 else None
            at = np.array(source.box) * rng.normal(1, 0.08, 4) if source else box(rng)
            label = source.label if source and rng.random() < 0.8 else int(rng.integers(CLASSES))
            found = {"image_id": image, "category_id": label + 1, "bbox": at.tolist(), "score": float(rng.random())}
            results.append(found | {"segmentation": ellipse(at)})
        objects.append(tuple(here))
    return Annotated(objects, list(range(images)), [SIZE] * images, tuple(range(1, CLASSES + 1))), results


def main(images: int) -> None:
    annotated, results = world(images)
    print(f"{images:,} images, {sum(map(len, annotated.objects)):,} objects, {len(results):,} findings")
    for kind in KINDS:
        times: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        found: dict[str, Any] = {}
        for repeat in range(REPEATS):
            for engine in ENGINES[: 2 if repeat else 3]:
                begun = time.process_time()
                found[engine] = judged(results, annotated, kind, engine)
                times[engine].append(time.process_time() - begun)
        before, now, plain = (statistics.median(times[engine]) for engine in ENGINES)
        figures, tables = ([f(found[engine]) for engine in ENGINES] for f in (twelve, precisions))
        apart = max(float(np.abs(each - own[0]).max()) for own in (figures, tables) for each in own[1:])
        print(f"{kind}: faster-coco-eval {before:.2f} s, hotcoco {now:.2f} s, pycocotools {plain:.2f} s; ", end="")
        print(f"{before / now:.1f} times as fast as before; figures and precisions at most {apart:.1e} apart")


def judged(results: list[dict], annotated: Annotated, kind: Kind, engine: str) -> Any:
    if engine != "faster-coco-eval":
        return evaluated(results, annotated, kind, "hotcoco" if engine == "hotcoco" else "pycocotools")
    with patch.object(coco_precision, "_judge", faster):
        return evaluated(results, annotated, kind, "pycocotools")


def faster(by: str, truth: dict[str, Any], entries: list[dict[str, Any]], kind: Kind) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster

    table = COCO()
    table.dataset = truth
    table.createIndex()
    return COCOeval_faster(table, table.loadRes(entries), coco_precision.TYPES[kind])


def twelve(judge: Any) -> np.ndarray:
    return np.array(judge.stats[:12])


def precisions(judge: Any) -> np.ndarray:
    return np.asarray(judge.eval["precision"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
