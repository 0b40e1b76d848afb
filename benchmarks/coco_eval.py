"""faster-coco-eval against pycocotools: the same 5,000 images, the same figures, CPU seconds of each.

    python benchmarks/coco_eval.py               # two to three minutes of one core
    python benchmarks/coco_eval.py 200           # that many images

One thread, process CPU time, one run each (a run of pycocotools takes 20 s). About 36,000 objects of 80 classes, 1 % of
them crowds, and 20 findings an image: boxes and elliptic masks near the objects, and as many elsewhere.
"""

import sys
import time

import numpy as np

from transferbench.data.annotations import Annotated, Annotation
from transferbench.detection.scoring.coco_precision import CocoEngine, Kind, evaluated
from transferbench.detection.targets import rle

SIZE, CLASSES, FOUND = (96, 128), 80, 20
ENGINES: tuple[CocoEngine, ...] = ("pycocotools", "faster-coco-eval")
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
        stats, taken = {}, {}
        for engine in ENGINES:
            begun = time.process_time()
            stats[engine] = np.array(evaluated(results, annotated, kind, engine).stats[:12])
            taken[engine] = time.process_time() - begun
        slow, fast = (taken[engine] for engine in ENGINES)
        difference = np.abs(stats[ENGINES[0]] - stats[ENGINES[1]]).max()
        print(f"{kind}: pycocotools {slow:.1f} s, faster-coco-eval {fast:.1f} s, ratio {slow / fast:.1f}; ", end="")
        print(f"AP {100 * stats[ENGINES[0]][0]:.3f}, greatest difference of the 12 figures {difference:.1e}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
