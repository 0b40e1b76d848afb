"""What is looked at before a detector is trained: splits that a recipe names, masks and objects, every test image."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

import forked
import pytest
from annotated import annotation, coco, edit, picture, voc
from test_task import candidate, record

from transferbench.data import LabeledImages, open_split
from transferbench.detection import adaptation, backends
from transferbench.detection.recipe import DetectionRecipe, compatibility
from transferbench.detection.recipe.schedule_keys import DatasetKeys
from transferbench.detection.scoring import coco_precision
from transferbench.detection.scoring.image_check import require_readable
from transferbench.errors import UserError
from transferbench.runtime import start

pytest.importorskip("pycocotools")
JUDGED = candidate()
CROWD = {"size": [30, 40], "counts": [0, 60, 1140]}


def splits(root: Path) -> tuple[LabeledImages, LabeledImages]:
    train = open_split(f"{root}/", "train", root)
    return train, open_split(f"{root}/", train.info.test_split, root)


def years(root: Path) -> Path:
    return voc(voc(root, 2007, {"trainval": ["1", "2"], "test": ["3"]}), 2012, {"trainval": ["4"]})


@cache
def plain() -> DetectionRecipe:
    return adaptation.resolved("micro-r18-c4", compatibility.overrides(JUDGED.card.architecture), None)


def named(train: tuple[str, ...] = (), test: tuple[str, ...] = (), masks: bool = True) -> DetectionRecipe:
    """A recipe with these `DATASETS`."""
    model = plain().MODEL.model_copy(update={"MASK_ON": masks})
    return plain().model_copy(update={"MODEL": model, "DATASETS": DatasetKeys(TRAIN=train, TEST=test)})


def reason(root: Path, recipe: DetectionRecipe) -> str:
    """Why the recipe cannot be run, but for what it has to follow; empty when it can."""
    train, test = splits(root)
    with mock.patch.object(adaptation, "stated", return_value={}):
        return adaptation.unfit(recipe, JUDGED.card, train, test) or ""


def part(names: tuple[str, ...], root: Path) -> LabeledImages:
    return adaptation.chosen(named(names), *splits(root))[0]


def test_the_splits_that_a_recipe_names_are_trained_on(tmp_path: Path):
    root = years(tmp_path)
    whole = part((), root)
    assert whole.boxes.ids == ["1", "2", "4"]
    assert part(("voc_2007_trainval", "voc_2012_trainval"), root).fingerprint == whole.fingerprint
    assert part(("voc_2012_trainval", "voc_2007_trainval"), root).boxes.ids == ["4", "1", "2"]
    alone = part(("voc_2007_trainval",), root)
    assert alone.boxes.ids == ["1", "2"]
    assert alone.boxes.parts == ["voc_2007_trainval"] * 2
    assert alone.fingerprint != whole.fingerprint


def test_splits_that_a_data_set_has_not_are_refused(tmp_path: Path):
    voc07, own = years(tmp_path / "v"), coco(tmp_path / "own")
    assert not reason(voc07, named(("voc_2007_trainval",), ("voc_2007_test",), masks=False))
    said = reason(voc07, named(("voc_2007_train",), masks=False))
    assert "DATASETS.TRAIN names voc_2007_train; voc0712/train has voc_2007_trainval, voc_2012_trainval." in said
    assert "--set detect.overrides='DATASETS.TRAIN ()'" in said
    assert not reason(own, named(("coco_2017_train",), ("coco_2017_val",)))
    assert "names coco_2014_val" in reason(own, named((), ("coco_2014_val",)))
    assert "names a split twice" in reason(own, named((), ("coco_2017_val", "coco_2017_val")))
    for path in (own / "annotations").iterdir():
        path.rename(path.with_name(path.name.replace("2017", "")))
    for split in ("train", "val"):
        (own / f"{split}2017").rename(own / split)
    assert "own/train has no split of a name" in reason(own, named(("coco_2017_train",)))
    assert not reason(own, named())


def test_a_crowd_without_a_mask_is_named_where_masks_are_judged(tmp_path: Path):
    objects = [annotation(1, 10, 7), annotation(2, 500, 7, iscrowd=1, segmentation=[])]
    root = coco(tmp_path, objects)
    said = reason(root, named())
    assert "crowds, which are judged, without masks" in said
    assert "val, 1 image(s), first val2017/000000000500.png (id 500)" in said
    assert not reason(root, named(masks=False))
    edit(root, lambda tables: tables["annotations"].pop(), "val")
    assert not reason(root, named())  # crowds are not trained on


def test_objects_without_masks_are_named(tmp_path: Path):
    root = coco(tmp_path, [annotation(1, 10, 7), annotation(2, 77, 7, segmentation=None)])
    assert "train, 1 image(s), first train2017/000000000077.png (id 77)" in reason(root, named())


def test_without_an_object_to_judge_nothing_is_scored_0(tmp_path: Path):
    root = coco(tmp_path / "c")
    edit(root, lambda t: t.update(annotations=[annotation(1, 10, 7, iscrowd=1, segmentation=CROWD)]), "val")
    assert "No object is annotated in c/val that detections could be judged by" in reason(root, named())
    with pytest.raises(UserError, match="Nothing can be judged"):
        coco_precision.precision([], splits(root)[1].boxes, ("a", "b", "c"), "box")
    root = years(tmp_path / "v")
    path = root / "VOC2007" / "Annotations" / "3.xml"
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    assert "No object is annotated in voc0712/test" in reason(root, named(masks=False))


def test_an_object_without_a_usable_mask_counts_for_boxes_and_not_for_masks(tmp_path: Path):
    root = coco(tmp_path, [annotation(1, 10, 7), annotation(2, 77, 7, segmentation=[[1, 2, 3, 4]])])
    test = splits(root)[1].boxes
    mask = {"size": [30, 40], "counts": [0]}
    found = {"image_id": 10, "category_id": 7, "bbox": [4, 6, 20, 15], "score": 0.9, "segmentation": mask}
    counts = {kind: len(coco_precision._truth(test, kind)["annotations"]) for kind in ("box", "mask")}
    assert counts == {"box": 2, "mask": 1}
    assert coco_precision.precision([found], test, ("a", "b", "c"), "box", "pycocotools").values["ap50"] < 51


def test_every_test_image_is_read_before_training_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = coco(tmp_path / "mine", [annotation(1, 10, 7)])
    path = root / "val2017" / "000000000077.png"
    picture(path, 41, 30)
    with pytest.raises(UserError, match=r"077.png' of mine is 41 x 30 pixels; its annotations are for 40 x 30"):
        require_readable(splits(root)[1], start("cpu"))
    path.write_bytes(path.read_bytes()[:60])
    monkeypatch.setattr(backends, "engine", lambda *_: pytest.fail("training began"))
    found = record(f"{root}/", JUDGED, tmp_path / "out")
    assert found.status == "failed"
    assert found.error is not None
    assert found.error.startswith("Cannot decode image 'val2017/000000000077.png' of mine/val")


@pytest.mark.slow
def test_how_many_test_images_cannot_be_used_is_said_to_every_process(tmp_path: Path):
    root = coco(tmp_path / "mine")
    for number in (10, 77):
        (root / "val2017" / f"{number:012d}.png").write_bytes(b"")

    def work(rank: int) -> str:
        with pytest.raises(UserError) as told:
            require_readable(splits(root)[1], start("cpu"))
        return str(told.value)

    first, second = forked.ranks(2, work, limit=120)
    assert first == second
    assert "000000000010.png" in first
    assert first.endswith("So it is with 2 of the 3 test images.")


def test_what_was_left_out_is_kept_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = coco(tmp_path / "mine")
    edit(root, lambda tables: tables["images"].append(dict(tables["images"][0])), "val")

    class Stub:
        loaded = None

        def train(self, watch: Callable[[int], None]) -> list[dict[str, float]]:
            return []

        def predict(self) -> list[dict[str, object]]:
            return []

    monkeypatch.setattr(backends, "engine", lambda *_: Stub())
    found = record(f"{root}/", JUDGED, tmp_path / "out")
    assert found.status == "ok", found.error
    assert found.version == "2"
    said = "1 of the 4 image entries repeat another (first: image 10) and are left out."
    assert [note.endswith(said) for note in found.notes] == [True]
