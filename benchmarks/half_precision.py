"""What half the bits do to a score: k-NN and a linear probe of the same checkpoints in float32 and in bfloat16.

    python benchmarks/half_precision.py DATA FILE [FILE ...]

A line gives both top-1 accuracies in percent and the difference, whose 95 % interval is of bootstraps over test images
that are drawn in pairs: where it holds 0, the images do not tell one precision from the other. 20-NN with cosine
similarity and weighted votes, and multinomial logistic regression with C = 1, on features as `evaluate` extracts them.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from transferbench.checkpoints.load import load
from transferbench.data import open_split
from transferbench.features.extraction import extract
from transferbench.neighbors import search
from transferbench.runtime import Runtime, data_root
from transferbench.tasks.knn import vote

PRECISIONS = ("bfloat16", "bfloat16_folded")
DRAWS = 2000


def main(data: str, files: list[str]) -> None:
    here = Runtime(torch.device("cpu"))
    train = open_split(data, "train", data_root())
    test = open_split(data, train.info.test_split, data_root())
    print(f"{train.info.name}: {len(train):,} training and {len(test):,} test images")
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            candidate = load(file)
            right = {}
            for precision in ("float32", *PRECISIONS):
                seen = [extract(candidate, images, Path(folder), here, 0, precision) for images in (train, test)]
                near, far = (np.array(each.features) for each in seen)
                right[precision] = judged(near, far, train.labels, test.labels)
            for task in ("20-NN", "linear"):
                for precision in PRECISIONS:
                    print(line(f"{candidate.name} {task} {precision}", right["float32"][task], right[precision][task]))


def judged(train: np.ndarray, test: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Which test images each classifier gets right."""
    near = search(train, test, 20, "cosine", device=torch.device("cpu"))
    weights = np.exp((near.values - near.values[:, :1]) / 0.07)
    voted = vote(labels[near.indices], weights, int(labels.max()) + 1)
    fitted = LogisticRegression(max_iter=1000).fit(train, labels)
    return {"20-NN": voted == truth, "linear": fitted.predict(test) == truth}


def line(name: str, full: np.ndarray, half: np.ndarray) -> str:
    apart = 100 * (half.astype(float) - full)
    drawn = np.random.default_rng(0).integers(len(apart), size=(DRAWS, len(apart)))
    low, high = np.percentile(apart[drawn].mean(1), [2.5, 97.5])
    before, after = 100 * full.mean(), 100 * half.mean()
    return f"{name:<40} {before:6.2f} -> {after:6.2f}  {apart.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
