"""Recipes are read as Detectron2 reads them, and nothing in one is ignored."""

from pathlib import Path

import pytest
import yaml

from transferbench.detection.recipe import DetectionRecipe, read
from transferbench.errors import UserError
from transferbench.resources import resource

PUBLISHED = ["coco_R_50_C4_1x", "coco_R_50_C4_2x", "voc0712_R_50_C4_24k", "coco_R_50_FPN_1x"]


def leaves(value: object, path: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        name: leaf for key, each in value.items() for name, leaf in leaves(each, f"{path}.{key}".strip(".")).items()
    }


def recipe_file(name: str) -> Path:
    return resource("detectron_configs") / f"{name}.yaml"


def written(tmp_path: Path, values: dict) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"_BASE_": str(recipe_file("coco_R_50_C4_1x")), **values}))
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_value_a_published_recipe_writes_is_in_it(name: str) -> None:
    found = leaves(read(recipe_file(name)).model_dump(mode="json"))
    said: dict[str, object] = {}
    for file in ("Base-RCNN", "Base-RCNN-FPN" if "FPN" in name else "Base-RCNN-C4", name):
        said |= leaves(yaml.safe_load(recipe_file(file).read_text()))
    del said["_BASE_"]
    assert {key: found[key] for key in said} == said


def test_a_file_is_laid_over_its_base_group_by_group(tmp_path: Path) -> None:
    recipe = read(written(tmp_path, {"MODEL": {"RPN": {"NMS_THRESH": 0.6}}}))
    assert recipe.MODEL.RPN.NMS_THRESH == 0.6
    assert recipe.MODEL.RPN.PRE_NMS_TOPK_TEST == 6000
    assert recipe.MODEL.MASK_ON


def test_overrides_win_and_are_literals_as_on_the_command_line() -> None:
    words = [
        "SOLVER.STEPS",
        "(50,)",
        "SOLVER.BASE_LR",
        "1e-2",
        "MODEL.MASK_ON",
        "False",
        "INPUT.MIN_SIZE_TRAIN",
        "[96, 128]",
    ]
    recipe = read(recipe_file("coco_R_50_C4_1x"), words)
    assert (recipe.SOLVER.STEPS, recipe.SOLVER.BASE_LR, recipe.MODEL.MASK_ON) == ((50,), 0.01, False)
    assert recipe.INPUT.MIN_SIZE_TRAIN == (96, 128)


def test_text_that_holds_a_tuple_is_a_tuple(tmp_path: Path) -> None:
    assert read(written(tmp_path, {"SOLVER": {"STEPS": "(10, 20)"}})).SOLVER.STEPS == (10, 20)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.RPN.NMS_TRESH", "0.5", "MODEL.RPN.NMS_TRESH: no such setting. Did you mean 'NMS_THRESH'?"),
        ("MODEL.RETINANET.NUM_CLASSES", "3", "MODEL.RETINANET"),
        ("MODEL.RPN.BBOX_REG_LOSS_TYPE", "giou", "MODEL.RPN.BBOX_REG_LOSS_TYPE: found 'giou'"),
        ("INPUT.FORMAT", "L", "INPUT.FORMAT: found 'L'"),
        ("INPUT.CROP.ENABLED", "True", "INPUT.CROP.ENABLED"),
        ("MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.NORM: found 'GN'"),
        ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG"),
        ("SOLVER.MAX_ITER", "-3", "SOLVER.MAX_ITER"),
    ],
)
def test_what_is_not_honored_is_refused_by_its_key(key: str, value: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(recipe_file("coco_R_50_C4_1x"), [key, value])
    assert message in str(caught.value)


def test_what_is_left_out_has_detectron2s_default(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("VERSION: 2\n")
    recipe = read(path)
    assert (recipe.INPUT.FORMAT, recipe.MODEL.PIXEL_STD) == ("BGR", (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        (
            "coco_R_50_FPN_1x",
            "MODEL.RPN.IN_FEATURES",
            "['p3', 'p4']",
            "MODEL.RPN.IN_FEATURES: found ('p3', 'p4'); with",
        ),
        ("coco_R_50_FPN_1x", "MODEL.ROI_HEADS.NAME", "Res5ROIHeads", "it can be 'StandardROIHeads'"),
        ("coco_R_50_FPN_1x", "MODEL.ANCHOR_GENERATOR.SIZES", "[[32], [64]]", "found 2 lists; there can be 1, or 5"),
        ("coco_R_50_C4_1x", "MODEL.ROI_BOX_HEAD.NUM_FC", "2", "MODEL.ROI_BOX_HEAD.NUM_FC: found 2"),
        ("coco_R_50_C4_1x", "MODEL.ROI_MASK_HEAD.NUM_CONV", "4", "MODEL.ROI_MASK_HEAD.NUM_CONV: found 4"),
        ("coco_R_50_C4_1x", "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "6 key(s) are inconsistent"),
    ],
)
def test_keys_of_the_other_kind_of_detector_are_refused(name: str, key: str, value: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(recipe_file(name), [key, value])
    assert message in str(caught.value)


def test_an_odd_number_of_words_and_a_circle_of_bases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pairs, KEY VALUE"):
        read(recipe_file("coco_R_50_C4_1x"), ["SOLVER.MAX_ITER"])
    (tmp_path / "a.yaml").write_text("_BASE_: b.yaml\n")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\n")
    with pytest.raises(UserError, match="its own _BASE_"):
        read(tmp_path / "a.yaml")


def test_a_recipe_never_changes() -> None:
    recipe = read(recipe_file("coco_R_50_C4_1x"))
    with pytest.raises(ValueError, match="frozen"):
        recipe.VERSION = 2  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(recipe, DetectionRecipe)
