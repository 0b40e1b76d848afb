"""The files that travel with the package, and the detection recipes among them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from transferbench.resources import resource

RECIPES = ["coco_R_50_C4_1x", "coco_R_50_C4_2x", "coco_R_50_FPN_1x", "voc0712_R_50_C4_24k"]
OURS = "micro-r18-c4"
"""The one that no paper published."""


def merged(path: Path) -> dict[str, Any]:
    """A recipe with its bases below it, as Detectron2 reads `_BASE_`."""
    values = yaml.safe_load(path.read_text())
    base = values.pop("_BASE_", None)
    return overlaid(merged(path.parent / base), values) if base else values


def overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    nested = {key: overlaid(below.get(key, {}), value) for key, value in above.items() if isinstance(value, dict)}
    return {**below, **above, **nested}


def test_a_file_that_is_nowhere_is_a_damaged_installation():
    with pytest.raises(FileNotFoundError, match="no_such_folder is neither in"):
        resource("no_such_folder")


def test_the_recipes_are_those_that_the_readme_names():
    folder = resource("detectron_configs")
    found = {path.stem for path in folder.glob("*.yaml") if not path.stem.startswith("Base")}
    assert found == {*RECIPES, OURS}
    assert all(f"`{name}.yaml`" in (folder / "README.md").read_text() for name in found)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_what_silently_costs_accuracy_when_it_is_missing(name: str):
    """Spec detection, gotchas 8 and 9, and `Protocol values`."""
    recipe = merged(resource(f"detectron_configs/{name}.yaml"))
    model, solver = recipe["MODEL"], recipe["SOLVER"]
    assert model["PIXEL_MEAN"] == [123.675, 116.28, 103.53]
    assert model["PIXEL_STD"] == [58.395, 57.12, 57.375]
    assert recipe["INPUT"]["FORMAT"] == "RGB"
    assert model["RESNETS"]["STRIDE_IN_1X1"] is False
    assert model["RESNETS"]["NORM"] == "SyncBN"
    assert model["BACKBONE"]["FREEZE_AT"] == 0
    assert recipe["TEST"]["PRECISE_BN"]["ENABLED"] is True
    assert (solver["IMS_PER_BATCH"], solver["BASE_LR"], solver["WEIGHT_DECAY_NORM"]) == (16, 0.02, 0.0)


@pytest.mark.parametrize(
    ("name", "steps", "iterations", "warm_up", "masks", "classes"),
    [
        ("coco_R_50_C4_1x", [60_000, 80_000], 90_000, 1000, True, 80),
        ("coco_R_50_C4_2x", [120_000, 160_000], 180_000, 1000, True, 80),
        ("coco_R_50_FPN_1x", [60_000, 80_000], 90_000, 1000, True, 80),
        ("voc0712_R_50_C4_24k", [18_000, 22_000], 24_000, 100, False, 20),
    ],
)
def test_the_schedules_are_the_published_ones(
    name: str, steps: list[int], iterations: int, warm_up: int, masks: bool, classes: int
):
    recipe = merged(resource(f"detectron_configs/{name}.yaml"))
    solver = recipe["SOLVER"]
    assert (solver["STEPS"], solver["MAX_ITER"], solver["WARMUP_ITERS"]) == (steps, iterations, warm_up)
    assert recipe["MODEL"]["MASK_ON"] is masks
    assert recipe["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] == classes
