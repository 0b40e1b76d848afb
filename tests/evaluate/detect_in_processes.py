"""A detector trained and tested, in one process or several."""

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from transferbench.backbones import Architecture, build, complete
from transferbench.data import open_split
from transferbench.detection import adaptation
from transferbench.detection.model.detector import build as detector_on
from transferbench.detection.recipe import compatibility
from transferbench.detection.scoring import results
from transferbench.detection.training import loop
from transferbench.runtime import Runtime

TINY = complete(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125}))
WORDS = (
    *("SOLVER.IMS_PER_BATCH", "4", "SOLVER.WARMUP_ITERS", "2", "INPUT.RANDOM_FLIP", "horizontal"),
    *("TEST.PRECISE_BN.NUM_ITER", "3", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"),
)
EVEN = ("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "4", "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64")
"""One object and three of background in each image, so that means of processes' means are means of all."""


def measure(here: Runtime, folder: Path, iterations: int, *words: str) -> dict[str, Any]:
    """What an untrained detector finds in scenes that no number of processes divides, the curve, what it finds then.

    `tested` says how many of the scenes this process looked at before.
    """
    size = ("SOLVER.MAX_ITER", str(iterations), "SOLVER.STEPS", f"({iterations * 4 // 5},)")
    recipe = adaptation.resolved("micro-r18-c4", [*WORDS, *size, *compatibility.overrides(TINY), *words], None)
    train, test = (open_split("digit-scenes", split, Path("no-root")) for split in ("train", "test"))
    test = test.subset(np.arange(7), "test")
    detector = detector_on(recipe, build(TINY, seed=3), 3, seed=1)
    with mock.patch.object(detector, "detect", wraps=detector.detect) as looking:
        before = results.predict(detector, test, recipe, here)
    curve = loop.train(detector, train, recipe, 0, loop.Ground(here, folder, "test"))
    after = results.predict(detector, test, recipe, here)
    return {"before": before, "curve": curve, "after": after, "tested": looking.call_count}
