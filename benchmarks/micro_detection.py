"""The micro detection recipe on the embedded scenes: what a detector finds before training and after it.

    python benchmarks/micro_detection.py CHECKPOINT      # three seeds of it and of random networks: 5 core-minutes

One thread, process CPU time. Detectors that are not trained have the checkpoint's statistics.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import torch

from transferbench.backbones import Backbone
from transferbench.checkpoints import Candidate
from transferbench.checkpoints.load import load, random_control
from transferbench.data import LabeledImages, open_split
from transferbench.detection import adaptation
from transferbench.detection.model.detector import Detector, build
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.scoring import results
from transferbench.detection.scoring.scores import score_results
from transferbench.detection.training import loop
from transferbench.runtime import Runtime

HERE = Runtime(torch.device("cpu"))


def precision(detector: Detector, test: LabeledImages, recipe: DetectionRecipe) -> str:
    """Box and mask AP50."""
    scores, _ = score_results(results.predict(detector, test, recipe, HERE), test, True)
    return ", ".join(f"{each.metric} {each.value:.1f}" for each in scores if each.metric.endswith("ap50"))


def trial(candidate: Candidate, seed: int) -> None:
    """Train and say what came of it."""
    train, test = (open_split("digit-scenes", split, Path()) for split in ("train", "test"))
    recipe = adaptation.resolved("micro-r18-c4", adaptation.following(candidate.card, train), None)
    detector = build(recipe, cast(Backbone, candidate.backbone), len(train.info.classes), seed)
    before = precision(detector, test, recipe)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        loop.train(detector, train, recipe, seed, loop.Ground(HERE, Path(folder), "micro"))
    trained = time.process_time()
    after = precision(detector, test, recipe)
    seconds = f"{trained - begun:.1f} CPU-s to train, {time.process_time() - trained:.1f} to test"
    print(f"{candidate.name} seed {seed}: before {before}; after {after}; {seconds}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = load(sys.argv[1])
    for seed in range(3):
        trial(given, seed)
        trial(random_control(given.card.architecture, given.card.preprocess, seed), seed)
