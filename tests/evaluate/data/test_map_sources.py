"""Data sets with published label maps, each on a small tree in its own layout: which files, numbers and classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pngs import palette, png

from transferbench.data import SOURCES, open_split
from transferbench.data.label_maps import UNCOUNTED, LabelRule
from transferbench.data.labeled_images import LabeledImages
from transferbench.data.sources import cityscapes, coco_stuff, digit_scenes_maps
from transferbench.errors import UserError

SIDES = (5, 4)


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(str(path))).integers(0, 256, (4, 5, 3), dtype=np.uint8)).save(path)


def mask(path: Path, numbers: list[int], is_gray: bool = True) -> None:
    """The numbers one after the other, the last of them to the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full(20, numbers[-1])
    values[: len(numbers)] = numbers
    path.write_bytes(png(values.reshape(4, 5), 8, 0 if is_gray else 3, b"" if is_gray else palette(8)))


def opened(name: str, split: str, root: Path) -> LabeledImages:
    images = open_split(name, split, root)
    assert (images.info.metric, images.info.carries, images.info.splits) == ("miou", "label maps", ("train", "val"))
    assert images.info.test_split == "val"
    assert images.image(0).size == SIDES
    return images


def classes(images: LabeledImages, index: int = 0, rule: LabelRule = LabelRule()) -> list[int]:  # noqa: B008
    return images.maps.labels(index, len(images.info.classes), rule).reshape(-1).tolist()


def listed(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def voc(root: Path, folder: str = "") -> Path:
    base = root / folder / "VOC2012"
    for name in ("x", "y", "z", "s"):
        photo(base / "JPEGImages" / f"{name}.jpg")
        if name != "s":
            mask(base / "SegmentationClass" / f"{name}.png", [0, 20, 255], is_gray=False)
    listed(base / "ImageSets/Segmentation/train.txt", ["y", "x"])
    listed(base / "ImageSets/Segmentation/val.txt", ["z"])
    return base


@pytest.mark.parametrize("folder", ["", "VOCdevkit"])
def test_voc_has_its_lists_and_a_palette(folder: str, tmp_path: Path):
    voc(tmp_path / "voc12seg", folder)
    train, val = (opened("voc12seg", split, tmp_path) for split in ("train", "val"))
    assert [Path(name).stem for name in (*train.names, *val.names)] == ["y", "x", "z"]
    assert (len(train.info.classes), train.info.classes[0], train.info.classes[20]) == (21, "background", "tvmonitor")
    assert classes(train)[:3] == [0, 20, UNCOUNTED]


def test_detectron2s_voc_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    voc(tmp_path / "d2")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "d2"))
    assert len(opened("voc12seg", "train", tmp_path / "no-root")) == 2


def test_more_masks_are_a_data_set_of_their_own(tmp_path: Path):
    base = voc(tmp_path / "voc12aug")
    mask(base / "SegmentationClassAug/s.png", [3])
    mask(base / "SegmentationClassAug/x.png", [7])
    with pytest.raises(
        UserError, match=r"no ImageSets/Segmentation/trainaug.txt or .*train_aug.txt.*SegmentationClassA"
    ):
        open_split("voc12aug", "train", tmp_path)
    listed(base / "ImageSets/Segmentation/trainaug.txt", ["x", "s"])
    train = opened("voc12aug", "train", tmp_path)
    assert train.info.name == "voc12aug"
    assert [classes(train, i)[0] for i in range(2)] == [0, 3]  # VOC's own mask where there is one
    (base / "SegmentationClassAug/s.png").unlink()
    with pytest.raises(UserError, match=r"1 of the 2 masks that .*trainaug.txt lists are not in .*first: .*s.png"):
        open_split("voc12aug", "train", tmp_path)


@pytest.mark.parametrize("inside", ["", "ADEChallengeData2016/"])
def test_ade20k_leaves_its_number_0_out(inside: str, tmp_path: Path):
    for part, split in (("training", "train"), ("validation", "val")):
        for i in (1, 2):
            photo(tmp_path / f"ade20k/{inside}images/{part}/ADE_{split}_{i:08}.jpg")
            mask(tmp_path / f"ade20k/{inside}annotations/{part}/ADE_{split}_{i:08}.png", [0, 1, 150])
    train = opened("ade20k", "train", tmp_path)
    assert [len(train), len(opened("ade20k", "val", tmp_path))] == [2, 2]
    assert len(set(train.info.classes)) == 150
    assert [train.info.classes[i] for i in (0, 1, 149)] == ["wall", "building", "flag"]
    assert classes(train)[:3] == [UNCOUNTED, 0, 149]
    with pytest.raises(UserError, match=r"ADE_train_00000001.png' holds 150. Expected the numbers 0 to 149"):
        classes(train, 0, LabelRule(reduce_labels=False))
    next((tmp_path / f"ade20k/{inside}annotations/training").glob("*1.png")).unlink()
    with pytest.raises(UserError, match="ade20k, training has images without a mask: 1"):
        open_split("ade20k", "train", tmp_path)


def test_the_full_ade20k_is_refused(tmp_path: Path):
    photo(tmp_path / "ade20k/ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_00016869.jpg")
    with pytest.raises(UserError, match=r"is the full ADE20K, with other classes and sizes. Expected images/training"):
        open_split("ade20k", "train", tmp_path)


def test_cityscapes_ids_become_train_ids(tmp_path: Path):
    for split, city in (("train", "ulm"), ("train", "bonn"), ("val", "jena")):
        frame = f"{split}/{city}/{city}_000000_000019"
        photo(tmp_path / f"cityscapes/leftImg8bit/{frame}_leftImg8bit.png")
        mask(tmp_path / f"cityscapes/gtFine/{frame}_gtFine_labelIds.png", [7, 8, 33, 29, 0])
        mask(tmp_path / f"cityscapes/gtFine/{frame}_gtFine_instanceIds.png", [99])
    train = opened("cityscapes", "train", tmp_path)
    assert [Path(name).parent.name for name in train.names] == ["bonn", "ulm"]
    assert classes(train)[:5] == [0, 1, 18, UNCOUNTED, UNCOUNTED]
    for path in (tmp_path / "cityscapes/gtFine").rglob("*_labelIds.png"):
        mask(path.with_name(path.name.replace("labelIds", "labelTrainIds")), [4, 18, 255])
    assert classes(opened("cityscapes", "val", tmp_path))[:2] == [0, 1]  # those that come with it are taken first
    for path in (tmp_path / "cityscapes/gtFine").rglob("*_labelIds.png"):
        path.unlink()
    assert classes(opened("cityscapes", "val", tmp_path))[:3] == [4, 18, UNCOUNTED]


def test_a_number_without_meaning_is_named(tmp_path: Path):
    photo(tmp_path / "cityscapes/leftImg8bit/val/a/a_0_1_leftImg8bit.png")
    mask(tmp_path / "cityscapes/gtFine/val/a/a_0_1_gtFine_labelIds.png", [34])
    with pytest.raises(
        UserError, match=r"a_0_1_gtFine_labelIds.png' of cityscapes/val: it holds 34, which the data set"
    ):
        opened("cityscapes", "val", tmp_path).maps.read(0)


def test_cityscapes_classes_are_in_the_order_of_train_ids():
    names = list(cityscapes.IDS)
    assert (len(names), names[0], names[13], names[18]) == (19, "road", "car", "bicycle")
    assert [i for i, train in enumerate(cityscapes.TRAIN_IDS) if train == 255] == [
        *(0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
    ]


@pytest.mark.parametrize("place", [("images", "annotations"), ("images", "stuffthingmaps"), (".", "stuffthingmaps")])
def test_coco_stuff_counts_171_of_its_labels(place: tuple[str, str], tmp_path: Path):
    root = tmp_path / "coco_stuff"
    for split, name in (("train2017", "1"), ("train2017", "2"), ("val2017", "3")):
        photo(root / place[0] / split / f"{name}.jpg")
        mask(root / place[1] / split / f"{name}.png", [0, 10, 12, 91, 181, 255])
        mask(root / place[1] / split / f"{name}_labelTrainIds.png", [77])
    train = opened("coco_stuff", "train", tmp_path)
    names = train.info.classes
    assert (len(train), len(set(names))) == (2, 171)
    found = classes(train)[:6]
    assert [names[i] for i in found[:5]] == ["person", "fire hydrant", "stop sign", "banner", "wood"]
    assert found[5] == UNCOUNTED
    mask(root / place[1] / "train2017/1.png", [11])  # street sign, removed from COCO
    with pytest.raises(UserError, match=r"1.png' of coco_stuff/train: it holds 11, which the data set"):
        opened("coco_stuff", "train", tmp_path).maps.read(0)


def test_coco_stuff_leaves_out_eleven_labels_and_no_class():
    assert [i for i, number in enumerate(coco_stuff.TABLE[:182]) if number < 0] == [i - 1 for i in coco_stuff.REMOVED]
    assert sorted(number for number in coco_stuff.TABLE[:182] if number >= 0) == list(range(171))


@pytest.mark.parametrize(("name", "first"), [("pascal_context", 0), ("pascal_context59", UNCOUNTED)])
def test_pascal_context_has_its_background_or_has_none(name: str, first: int, tmp_path: Path):
    base = tmp_path / name / "VOC2010"
    for split, each in (("train", "2008_000002"), ("val", "2008_000003")):
        photo(base / f"JPEGImages/{each}.jpg")
        mask(base / f"SegmentationClassContext/{each}.png", [0, 55, 58])
        listed(base / f"ImageSets/SegmentationContext/{split}.txt", [each])
    train = opened(name, "train", tmp_path)
    found = classes(train)[:3]
    assert found[0] == first
    assert [train.info.classes[i] for i in found[1:]] == ["tvmonitor", "window"]
    assert len(train.info.classes) == (60 if first == 0 else 59)


@pytest.mark.parametrize("name", ["voc12seg", "voc12aug", "ade20k", "cityscapes", "coco_stuff", "pascal_context"])
def test_an_empty_folder_is_told_with_what_belongs_there(name: str, tmp_path: Path):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=rf"{name} .*Expected"):
        open_split(name, "train", tmp_path)
    assert "DATA/" in SOURCES.load(name).HELP


def test_the_digit_scenes_have_the_class_of_each_pixel(tmp_path: Path):
    scenes, maps = (open_split(name, "train", tmp_path) for name in ("digit-scenes", "digit-scenes-maps"))
    assert (len(maps.info.classes), maps.info.classes[:3]) == (11, ("background", "0", "1"))
    shown: set[int] = set()
    for i in range(12):
        found = maps.maps.labels(i, 11, LabelRule())
        literal = np.zeros((128, 128), int)
        for each in scenes.boxes.objects[i]:
            counts, at, value = each.mask["counts"], 0, 0
            for run in counts:
                for place in range(at, at + run):
                    if value:
                        literal[place % 128, place // 128] = int(scenes.info.classes[each.label]) + 1
                at, value = at + run, 1 - value
        assert np.array_equal(found, literal)
        assert maps.image(i).tobytes() == scenes.image(i).tobytes()
        shown |= set(np.unique(found).tolist())
    assert shown == {0, 1, 2, 5}
    assert digit_scenes_maps.INFO.image_size == 128
