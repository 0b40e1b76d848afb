"""Annotation files as people have them: what is read lies on its object, what is not is named before anything runs."""

import shutil
from pathlib import Path

import pytest
from annotated import annotation, coco, colored, edit, on_their_objects, picture, voc, voc_object
from PIL import Image

from transferbench.data import LabeledImages, open_split
from transferbench.data.dataset import open_dataset
from transferbench.detection.scoring import pictures
from transferbench.detection.targets.views import decoded, training_sample
from transferbench.errors import UserError


def opened(root: Path, split: str = "val") -> LabeledImages:
    return open_split(f"{root}/", split, root)


def test_boxes_lie_on_their_objects_and_do_so_when_an_image_is_listed_twice(tmp_path: Path):
    root = colored(tmp_path)
    assert on_their_objects(opened(root)) == 6
    edit(root, lambda t: t["images"].insert(1, dict(t["images"][0])))
    images = opened(root)
    assert (len(images), on_their_objects(images)) == (6, 6)
    assert len(images.notes) == 1
    edit(root, lambda t: [each.update(category_id=str(each["category_id"])) for each in t["annotations"]])
    assert on_their_objects(opened(root)) == 6


TURNS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE}
"""What makes the stored pixels of an upright image."""


@pytest.mark.parametrize("tag", TURNS)
def test_images_are_turned_by_their_exif_orientation_as_by_detectron2(tmp_path: Path, tag: int):
    root = colored(tmp_path)
    exif = Image.Exif()
    exif[0x112] = tag
    for path in (root / "val2017").iterdir():
        Image.open(path).transpose(TURNS[tag]).save(path, exif=exif)
    images = opened(root)
    assert on_their_objects(images) == 6
    assert pictures.drawn(images, 0, []).size == (256, 192)  # an upright 80 x 60


def test_an_image_of_16_bits_is_turned_too(tmp_path: Path):
    path, exif = tmp_path / "c" / "val2017" / "000000000010.png", Image.Exif()
    coco(tmp_path / "c")
    exif[0x112] = 6
    Image.new("I;16", (30, 40), 700).save(path, exif=exif)
    images = opened(tmp_path / "c").ranged((0, 1000))
    assert decoded(images, 0).size == (40, 30)


def test_an_image_that_only_fits_unturned_is_refused_with_the_word(tmp_path: Path):
    root, exif = colored(tmp_path), Image.Exif()
    exif[0x112] = 6
    path = root / "val2017" / "1.png"
    Image.open(path).save(path, exif=exif)
    with pytest.raises(UserError, match=r"60 x 80 pixels once turned by its EXIF orientation 6.*are for 80 x 60"):
        decoded(opened(root), 0)


def test_of_two_years_that_one_is_taken_whose_images_are_there(tmp_path: Path):
    root = colored(tmp_path)
    for split in ("train", "val"):
        path = root / "annotations" / f"instances_{split}2017.json"
        path.with_name(f"instances_{split}2014.json").write_text(path.read_text().replace('.png"', '.jpg"'))
    assert on_their_objects(opened(root)) == 6
    assert opened(root).boxes.parts == ["coco_2017_val"] * 6
    path.with_name("instances_val2014.json").write_text(path.read_text())
    shutil.copytree(root / "val2017", root / "val2014")
    with pytest.raises(UserError, match=r"several annotation files for val .*instances_val2014.json and .*2017.json"):
        opened(root)
    for year in (2014, 2017):
        (root / f"val{year}" / "1.png").unlink()
    with pytest.raises(UserError, match=r"(?s)No annotation file for val.*2014/1.png.*2017/1.png"):
        opened(root)


def test_a_split_that_was_never_annotated_is_refused(tmp_path: Path):
    root = edit(coco(tmp_path), lambda t: t.update(annotations=[]), "val")
    assert len(opened(root, "train")) == 3
    with pytest.raises(UserError, match=r"instances_val2017.json annotates none of its 3 images"):
        opened(root)


def test_a_file_name_that_no_file_can_have_is_told_as_absent(tmp_path: Path):
    for name in ("a" * 300, "a\0b", "../../none.png", ""):
        edit(coco(tmp_path), lambda t, name=name: t["images"][1].update(file_name=name), "val")
        with pytest.raises(UserError, match="1 of the 3 images of"):
            opened(tmp_path)


def test_an_object_without_a_usable_mask_is_left_out_of_training_and_the_set_is_not_refused(tmp_path: Path):
    objects = [annotation(1, 10, 7, segmentation=[[1, 2, 3, 4]]), annotation(2, 10, 3), annotation(3, 77, 3)]
    images = opened(coco(tmp_path, [*objects, annotation(4, 500, 7, segmentation=[[1, 2, 3, 4]])]), "train")
    assert images.boxes.learnable(True).tolist() == images.boxes.learnable(False).tolist() == [0, 2]
    assert not len(images.boxes.unmasked(False))
    for with_masks in (True, False):
        objects = training_sample(images, 0, (30, 40), False, with_masks).objects
        assert objects is not None
        assert objects.labels.tolist() == [0]
    assert "2 of the 4 objects have no outline of three corners (first: annotation 1)" in images.notes[0]


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg"])
def test_voc_images_may_have_other_endings(tmp_path: Path, suffix: str):
    root = voc(tmp_path, 2007, {"trainval": ["a"], "test": ["c"]})
    for path in (root / "VOC2007" / "JPEGImages").iterdir():
        path.rename(path.with_suffix(suffix))
    assert opened(root, "test").names == [f"VOC2007/JPEGImages/c{suffix}"]
    picture(root / "VOC2007" / "JPEGImages" / "c.bmp", 40, 30)
    with pytest.raises(UserError, match=r"c\.[^ ]* and .*c\.[^ ]* for one name"):
        opened(root, "test")
    for path in (root / "VOC2007" / "JPEGImages").glob("c.*"):
        path.unlink()
    with pytest.raises(UserError, match=r"The image VOC2007/JPEGImages/c.jpg is not in"):
        opened(root, "test")


def test_what_is_wrong_in_voc_is_named_with_its_file(tmp_path: Path):
    root = voc(tmp_path, 2007, {"trainval": ["a"], "test": ["c"]})
    path = root / "VOC2007" / "Annotations" / "c.xml"
    path.write_text(
        path.read_text().replace(voc_object("car", 0, (5, 7, 24, 21)), voc_object("car", 0, (24, 7, 5, 21)))
    )
    with pytest.raises(UserError, match=r"VOC2007/Annotations/c.xml cannot be read .*object 1 \(car\) has the corners"):
        opened(root, "test")


def test_voc_images_listed_twice_count_once_and_two_of_one_name_are_two(tmp_path: Path):
    root = voc(voc(tmp_path, 2007, {"train": ["a"], "val": ["c"]}), 2012, {"val": ["c"]})
    images = opened(root, "test")
    assert images.boxes.ids == ["VOC2007/c", "VOC2012/c"]
    assert images.boxes.parts == ["voc_2007_val", "voc_2012_val"]
    (root / "VOC2012" / "ImageSets" / "Main" / "val.txt").write_text("c\nc\n\n")
    again = opened(root, "test")
    assert again.names == images.names
    assert "1 of 2 names repeat another" in again.notes[0]


def test_where_val_is_judged_it_is_not_trained_on(tmp_path: Path):
    root = voc(tmp_path, 2012, {"trainval": ["a", "b", "c"], "train": ["a", "b"], "val": ["c"]})
    found = open_dataset(lambda split: opened(root, split))
    assert (found.train.boxes.ids, found.test.boxes.ids) == (["a", "b"], ["c"])
    (root / "VOC2012/ImageSets/Main/train.txt").unlink()
    with pytest.raises(UserError, match=r"no list of images for train; found: .*trainval.txt holds both"):
        opened(root, "train")


def test_images_that_are_trained_on_are_not_judged(tmp_path: Path):
    root = voc(tmp_path / "voc", 2007, {"trainval": ["a", "b"], "test": ["b", "c"]})
    with pytest.raises(UserError, match=r"1 of the 2 test images of voc are training images too \(first: .*b.jpg\)"):
        open_dataset(lambda split: opened(root, split))
    root = colored(tmp_path / "coco")
    edit(root, lambda t: t["images"][0].update(file_name="../train2017/1.png"), "val")
    with pytest.raises(UserError, match=r"1 of the 6 val images of coco .*\(first: train2017/1.png\)"):
        open_dataset(lambda split: opened(root, split))


def test_classes_that_are_not_trained_on_are_said(tmp_path: Path):
    root = colored(tmp_path / "coco")
    edit(root, lambda t: t.update(annotations=[each for each in t["annotations"] if each["category_id"] == 1]), "train")
    found = open_dataset(lambda split: opened(root, split))
    assert found.notes == ("coco/val: no training label is of 1 of its classes (blue).",)


@pytest.mark.parametrize("change", [lambda x, side: x / side, lambda x, side: x * 0])
def test_boxes_in_other_units_are_refused(change, tmp_path: Path):
    root = colored(tmp_path)
    sides = (80, 60, 80, 60)
    edit(
        root,
        lambda t: [
            e.update(bbox=[change(*each) for each in zip(e["bbox"], sides, strict=True)]) for e in t["annotations"]
        ],
    )
    with pytest.raises(UserError, match=r"boxes of .*instances_val2017.json"):
        opened(root)
