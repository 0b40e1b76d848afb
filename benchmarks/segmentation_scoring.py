"""Scoring label maps: ours against torchmetrics' JaccardIndex, hotcoco and scikit-learn, the same mIoU.

    pip install torchmetrics                              # left out where it is not installed, as is hotcoco
    python benchmarks/segmentation_scoring.py             # about a minute of one core
    python benchmarks/segmentation_scoring.py 50          # that many images in place of 500

One thread and one process, CPU time, medians of `REPEATS` runs in turn; scikit-learn runs once. Images of 512x512
pixels and 150 classes: patches of 32x32 pixels of a class, a tenth of them uncounted, and predictions as an argmax
gives them (int64), right on two pixels of three. Every library gets arrays of the kind it takes without converting;
scikit-learn, which holds all pixels at once, gets `DISTINCT` images.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}  # before libraries read it

import importlib.util
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferbench.data.label_maps import UNCOUNTED
from transferbench.segmentation.scoring import PixelCounts, pixel_counts, segmentation_scores

SIDE, PATCH, CLASSES, REPEATS = 512, 32, 150, 5
DISTINCT = 20
"""Images that are drawn; the others are these again."""
Maps = list[tuple[np.ndarray, np.ndarray]]


def world() -> Maps:
    rng, maps = np.random.default_rng(0), []
    for _ in range(DISTINCT):
        patches = rng.integers(0, CLASSES, (SIDE // PATCH, SIDE // PATCH))
        patches[rng.random(patches.shape) < 0.1] = UNCOUNTED
        truth = np.kron(patches, np.ones((PATCH, PATCH), np.int64))
        others = np.kron(rng.integers(0, CLASSES, patches.shape), np.ones((PATCH, PATCH), np.int64))
        maps.append((truth.astype(np.int16), np.where((rng.random(truth.shape) < 2 / 3) & (truth >= 0), truth, others)))
    return maps


def ours(maps: Maps, images: int) -> Callable[[], float]:
    def run() -> float:
        counts = [pixel_counts(*maps[i % DISTINCT], CLASSES) for i in range(images)]
        return segmentation_scores(PixelCounts.joined(counts), "left out", "over the set")[0].value / 100

    return run


def torchmetrics(maps: Maps, images: int, validate: bool) -> Callable[[], float]:
    from torchmetrics import JaccardIndex

    tensors = [(torch.from_numpy(p)[None], torch.from_numpy(t.astype(np.int64))[None]) for t, p in maps]

    def run() -> float:
        judge = JaccardIndex("multiclass", num_classes=CLASSES, ignore_index=UNCOUNTED, validate_args=validate)
        for i in range(images):
            judge.update(*tensors[i % DISTINCT])
        return float(judge.compute())

    return run


def hotcoco(maps: Maps, images: int) -> Callable[[], float]:
    from hotcoco.semantic import SemanticEval

    arrays = [(np.where(t == UNCOUNTED, 255, t).astype(np.int64), p) for t, p in maps]

    def run() -> float:
        judge = SemanticEval(CLASSES)
        for i in range(images):
            judge.update(*arrays[i % DISTINCT])
        return judge.report()["metrics"]["mIoU"]

    return run


def sklearn(maps: Maps, images: int) -> Callable[[], float]:
    from sklearn.metrics import jaccard_score

    kept = [(t[t >= 0], p[t >= 0]) for t, p in maps]

    def run() -> float:
        truth, predicted = (np.concatenate([kept[i % DISTINCT][k] for i in range(images)]) for k in (0, 1))
        return float(jaccard_score(truth, predicted, average="macro"))

    return run


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def main(images: int) -> None:
    torch.set_num_threads(1)
    maps = world()
    rivals: dict[str, Callable[[], float]] = {"ours, 2,000 draws and all": ours(maps, images)}
    if importlib.util.find_spec("torchmetrics"):
        rivals["torchmetrics JaccardIndex"] = torchmetrics(maps, images, True)
        rivals["torchmetrics, unchecked"] = torchmetrics(maps, images, False)
    if importlib.util.find_spec("hotcoco"):
        rivals["hotcoco SemanticEval"] = hotcoco(maps, images)
    names = [name for name in ("torch", "numpy", "torchmetrics", "hotcoco", "scikit-learn") if found(name)]
    print(f"{images} images of {SIDE}x{SIDE}, {CLASSES} classes; {processor()}, one thread")
    print(", ".join(f"{name} {version(name)}" for name in names))
    times: dict[str, list[float]] = {name: [] for name in rivals}
    values: dict[str, Any] = {}
    for _ in range(REPEATS):
        for name, run in rivals.items():
            begun = time.process_time()
            values[name] = run()
            times[name].append(time.process_time() - begun)
    begun = time.process_time()
    values["scikit-learn"] = sklearn(maps, DISTINCT)()
    times["scikit-learn"] = [(time.process_time() - begun) * images / DISTINCT]
    own = statistics.median(next(iter(times.values())))
    for name, spent in times.items():
        took = statistics.median(spent)
        print(f"{name:26} {took:8.3f} s {1000 * took / images:7.2f} ms an image {took / own:6.1f} times ours", end="")
        print(f"  mIoU {100 * values[name]:.6f}")


def found(name: str) -> bool:
    return importlib.util.find_spec({"scikit-learn": "sklearn"}.get(name, name)) is not None


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
