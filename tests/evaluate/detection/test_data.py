import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from annotated import annotation, coco, picture, voc

from transferbench.data import open_split
from transferbench.data.sources import digit_scenes
from transferbench.data.subsets import limited
from transferbench.errors import UserError
from transferbench.run import DatasetCache


def opened(root: Path, split: str = "train"):
    return open_split(f"{root}/", split, Path("no-root"))


def test_a_coco_folder_with_gaps_in_its_ids_crowds_codes_and_empty_images(tmp_path: Path):
    images = opened(coco(tmp_path / "mine"))
    assert images.info.name == "mine"
    assert images.info.classes == ("dog", "cat", "eel")  # in the order of their ids, 3 7 90
    assert (images.info.metric, images.info.carries) == ("box_ap", "boxes")
    assert images.info.chance is None
    assert images.info.test_split == "val"
    found = images.annotated
    assert found is not None
    assert found.categories == (3, 7, 90)
    assert [len(each) for each in found.objects] == [3, 1, 0]
    assert [each.label for each in found.objects[0]] == [1, 2, 0]
    assert [each.crowd for each in found.objects[0]] == [False, False, True]
    assert found.objects[0][0].box == (4.0, 6.0, 20.0, 15.0)
    assert found.ids == [10, 500, 77]
    assert images.labels.tolist() == [1, 0, -1]
    assert images.image(0).size == (40, 30)
    assert not len(found.unmasked(False))


def test_a_zip_with_a_folder_around_everything_is_the_same(tmp_path: Path):
    folder = opened(coco(tmp_path / "a" / "mine"))
    path = shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path / "a")
    packed = open_split(path, "train", Path("no-root"))
    assert packed.info == folder.info
    assert packed.annotated == folder.annotated
    assert packed.image(2).tobytes() == folder.image(2).tobytes()


def test_roboflows_layout(tmp_path: Path):
    coco(tmp_path / "a")
    for split in ("train", "valid"):
        name = "train" if split == "train" else "val"
        target = tmp_path / "b" / split
        shutil.copytree(tmp_path / "a" / f"{name}2017", target)
        shutil.copy(tmp_path / "a" / "annotations" / f"instances_{name}2017.json", target / "_annotations.coco.json")
    assert len(opened(tmp_path / "b")) == 3
    assert opened(tmp_path / "b", "val").image(0).size == (40, 30)


def test_other_annotation_files_are_not_taken_for_objects(tmp_path: Path):
    root = coco(tmp_path / "mine")
    (root / "annotations" / "captions_train2017.json").write_text("{}")
    assert len(opened(root)) == 3


def test_the_fingerprint_changes_with_annotations_and_images(tmp_path: Path):
    marks = {opened(coco(tmp_path / "a")).fingerprint}
    marks.add(opened(coco(tmp_path / "b", [annotation(1, 10, 7)])).fingerprint)
    root = coco(tmp_path / "c")
    picture(root / "train2017" / "000000000010.png", 41, 30)
    marks.add(opened(root).fingerprint)
    assert len(marks) == 3
    assert opened(coco(tmp_path / "d")).fingerprint in marks


def test_a_limit_keeps_annotations_with_their_images(tmp_path: Path):
    images = opened(coco(tmp_path / "mine"))
    part = images.subset(np.array([2, 0]), "test")
    assert part.annotated is not None
    assert part.annotated.ids == [77, 10]
    assert [len(each) for each in part.annotated.objects] == [0, 3]
    assert len(limited(images, 2, 0)) == 2


def test_what_is_wrong_is_said(tmp_path: Path):
    with pytest.raises(UserError, match=r"no folder or zip at .*coco"):
        DatasetCache(tmp_path).take("coco")
    root = coco(tmp_path / "a")
    (root / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(UserError, match="no annotation file for val"):
        opened(root, "val")
    root = coco(tmp_path / "b")
    (root / "train2017" / "000000000500.png").unlink()
    with pytest.raises(UserError, match=r"1 of the 3 images .*first: train2017/000000000500.png"):
        opened(root)
    root = coco(tmp_path / "c", [annotation(1, 10, 8)])
    with pytest.raises(UserError, match=r"annotation 1 is of category 8 .*no such category.*3, 7, 90"):
        opened(root)
    root = coco(tmp_path / "d", [annotation(1, 11, 7)])
    with pytest.raises(UserError, match="no such image"):
        opened(root)
    root = coco(tmp_path / "e")
    (root / "train2017" / "000000000010.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"Cannot decode image 'train2017/000000000010.png'"):
        opened(root).image(0)
    (root / "annotations" / "instances_train2017.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        opened(root)
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps({"images": []}))
    with pytest.raises(UserError, match="not in COCO's format"):
        opened(root)


def test_voc_in_detectron2s_folder_and_in_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    voc(tmp_path / "d2", 2007, {"trainval": ["000001", "000002"], "test": ["000003"]})
    voc(tmp_path / "d2", 2012, {"trainval": ["2012_000001"]})
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "d2"))
    train, test = (open_split("voc0712", split, tmp_path / "no-root") for split in ("train", "test"))
    assert len(train) == 3
    assert len(test) == 1
    assert len(train.info.classes) == 20
    assert train.info == test.info
    found = train.annotated
    assert found is not None
    assert found.scoring == "voc2007"
    assert found.objects[2][0].box == (4.0, 6.0, 20.0, 15.0)  # corners 5 7 24 21, counted from 1
    assert [each.difficult for each in found.objects[0]] == [False, True]
    assert train.info.classes[found.objects[0][0].label] == "car"
    shutil.copytree(tmp_path / "d2", tmp_path / "root" / "voc0712" / "VOCdevkit")
    assert open_split("voc0712", "test", tmp_path / "root").annotated == test.annotated


def test_coco_in_detectron2s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    coco(tmp_path / "d2" / "coco")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "d2"))
    assert open_split("coco", "train", tmp_path / "no-root").info.name == "coco"


def test_a_folder_like_voc_has_the_classes_it_names(tmp_path: Path):
    root = voc(tmp_path / "mine", 2012, {"train": ["a", "b"], "val": ["c"]})
    path = root / "VOC2012" / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("car", "platelet"))
    images = opened(root)
    assert images.info.classes == ("car", "dog", "platelet")
    assert images.annotated is not None
    assert images.annotated.scoring == "voc2012"
    assert len(opened(root, "test")) == 1
    path.write_text(path.read_text().replace("<xmin>5</xmin>", ""))
    with pytest.raises(UserError, match=r"a.xml cannot be read .*bndbox/xmin"):
        opened(root)


def test_the_embedded_masks_are_the_digits():
    scenes = digit_scenes.drawn("train")
    assert {each.label for found in scenes.objects for each in found} == {0, 1, 2}
    for found in scenes.objects[:20]:
        filled = np.zeros((128, 128), int)
        for each in found:
            assert isinstance(each.mask, dict)
            runs = each.mask["counts"]
            mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(128, 128).T
            x, y, width, height = (int(v) for v in each.box)
            inside = mask[y : y + height, x : x + width]
            assert inside.sum() == mask.sum() == each.area
            assert inside.any(0).all()
            assert inside.any(1)[[0, -1]].all()
            filled += mask
        assert filled.max() == 1
