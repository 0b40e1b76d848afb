"""A trained detector has the precision here that it has in Detectron2 (golden_detection/README.md)."""

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection_trained import HERE, ours, recipe, scenes, theirs

from transferbench.detection.scoring import results
from transferbench.detection.scoring.coco_precision import CocoEngine, Kind, precision
from transferbench.detection.scoring.scores import score_results
from transferbench.detection.targets.rle import decoded

pytest.importorskip("pycocotools")
GOLDEN = Path(__file__).parents[1] / "golden_detection"
LIVE = importlib.util.find_spec("detectron2") is not None


@cache
def golden() -> dict[str, Any]:
    return json.loads((GOLDEN / "trained.json").read_text())


@cache
def found() -> results.Results:
    return results.predict(ours(GOLDEN), scenes(), recipe(), HERE)


def figures(of: results.Results) -> dict[str, dict[str, float]]:
    """By kind and name, as `golden` has them."""
    scores = {score.metric: score.value for score in score_results(of, scenes(), True)[0]}
    return {kind: {name: scores[f"{kind}_{name}"] for name in part} for kind, part in golden()["figures"].items()}


def test_the_precision_is_detectron2s() -> None:
    for kind, part in golden()["figures"].items():
        assert part["ap"] > 10
        assert figures(found())[kind] == pytest.approx(part, abs=1e-3)


@pytest.mark.parametrize("engine", ["pycocotools", "hotcoco"])
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_detectron2s_findings_have_the_precision_that_its_own_evaluator_gave(kind: Kind, engine: CocoEngine) -> None:
    if engine == "hotcoco":
        pytest.importorskip("hotcoco")
    images = scenes()
    assert images.annotated is not None
    values = precision(golden()["detections"], images.annotated, images.info.classes, kind, engine).values
    for name, value in golden()["figures"][kind].items():
        assert values[name] == pytest.approx(value, abs=1e-9)


def test_it_finds_what_detectron2_finds() -> None:
    wanted = golden()["detections"]
    keys = ("image_id", "category_id")
    assert [[each[key] for key in keys] for each in found()] == [[each[key] for key in keys] for each in wanted]
    for key, most in (("bbox", 0.01), ("score", 1e-4)):
        np.testing.assert_allclose([e[key] for e in found()], [e[key] for e in wanted], rtol=0, atol=most)
    masks = np.array([[decoded(each["segmentation"]) for each in every] for every in (found(), wanted)])
    assert masks[1].any()
    assert (masks[0] != masks[1]).mean() <= 1e-4


@pytest.mark.skipif(not LIVE, reason="detectron2 is not installed")
def test_live_detectron2_finds_the_same_with_the_same_weights() -> None:
    there, precisions = theirs(ours(GOLDEN), scenes())
    assert there == found()
    for kind, part in precisions.items():
        assert figures(found())[kind] == pytest.approx(part, abs=1e-6)
