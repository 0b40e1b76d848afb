"""What Detectron2's own loader makes of our data sets, live beside what our detector is fed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from annotated import annotation, coco, voc
from PIL import Image

from transferbench.data import LabeledImages, open_split
from transferbench.detection import adaptation
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.targets.rle import decoded, encode
from transferbench.detection.targets.views import sample, training_sample
from transferbench.detection.training import loader
from transferbench.errors import UserError

WORDS = ("INPUT.MIN_SIZE_TRAIN", "(48,)", "INPUT.MIN_SIZE_TEST", "48", "INPUT.MAX_SIZE_TEST", "60")


def recipe(order: str, flip: str, masks: bool) -> DetectionRecipe:
    chosen = ("INPUT.FORMAT", order, "INPUT.RANDOM_FLIP", flip, "MODEL.MASK_ON", str(masks))
    return adaptation.resolved("micro-r18-c4", (*WORDS, *chosen), None)


def opened(kind: str, folder: Path) -> LabeledImages:
    if kind == "coco":
        return open_split(f"{coco(folder)}/", "train", folder)
    if kind == "voc":
        return open_split(f"{voc(folder, 2007, {'trainval': ['a', 'b'], 'test': ['c']})}/", "train", folder)
    return open_split("digit-scenes", "train", folder).subset(np.arange(6), "a few")


@pytest.mark.parametrize(("kind", "masks"), [("coco", True), ("coco", False), ("voc", False), ("scenes", True)])
def test_live_images_boxes_and_masks_are_those_of_our_own_feeding(kind: str, masks: bool, tmp_path: Path):
    data = pytest.importorskip("detectron2.data")
    from transferbench.detection.by_detectron2 import catalog, configuration

    images = opened(kind, tmp_path)
    for order, flip in (("RGB", "none"), ("BGR", "horizontal")):
        setting = recipe(order, flip, masks)
        config = configuration.configured(setting)
        config.INPUT.MASK_FORMAT = configuration.mask_format(images, setting)
        name = catalog.register(images, masks)
        kept = data.get_detection_dataset_dicts([name], filter_empty=True)
        assert [each["image_id"] for each in kept] == loader.trainable(images, masks)
        colors = [0, 1, 2] if order == "RGB" else [2, 1, 0]
        np.random.seed(0)
        flips = []
        for entry in 8 * kept:
            found = data.DatasetMapper(config, True)(entry)
            plain, turned = (training_sample(images, entry["image_id"], (48, 160), way, masks) for way in (False, True))
            flips.append(not torch.equal(found["image"][colors].float(), plain.pixels))
            mine = turned if flips[-1] else plain
            assert mine.objects is not None
            assert torch.equal(found["image"][colors].float(), mine.pixels)
            assert torch.equal(found["instances"].gt_boxes.tensor, mine.objects.boxes)
            assert torch.equal(found["instances"].gt_classes, mine.objects.labels)
            if masks:
                assert mine.objects.rles is not None
                assert (found["instances"].gt_masks.tensor.numpy() == [decoded(e) for e in mine.objects.rles]).all()
            tested = data.DatasetMapper(config, False)(entry)
            assert torch.equal(tested["image"][colors].float(), sample(images, entry["image_id"], 48, 60).pixels)
        assert set(flips) == ({False, True} if flip == "horizontal" else {False})


def test_live_outlines_stay_outlines_where_there_is_nothing_else(tmp_path: Path):
    data = pytest.importorskip("detectron2.data")
    from transferbench.detection.by_detectron2 import catalog, configuration

    images = open_split(f"{coco(tmp_path, [annotation(1, 10, 7)])}/", "train", tmp_path)
    setting = recipe("RGB", "none", True)
    assert configuration.mask_format(images, setting) == "polygon"
    (entry,) = data.get_detection_dataset_dicts([catalog.register(images, True)], filter_empty=True)
    found = data.DatasetMapper(configuration.configured(setting), True)(entry)["instances"].gt_masks.polygons
    mine = training_sample(images, 0, (48, 160), False, True).objects
    assert mine is not None
    assert mine.polygons is not None
    np.testing.assert_array_equal(found[0][0], mine.polygons[0][0])


def random_mask(rng: np.random.Generator) -> Any:
    """An outline, two of which one encloses nothing, one that encloses nothing, or a bitmap of a few pixels or none."""
    x, y, width, height = (float(value) for value in rng.uniform((0, 0, 0.1, 0.1), (28, 18, 12, 12)))
    box, line = [x, y, x + width, y, x + width, y + height, x, y + height], [x, y, x + width, y]
    bitmap, side = np.zeros((30, 40), bool), int(rng.integers(0, 4))
    bitmap[int(y) : int(y) + side, int(x) : int(x) + side] = True
    return [[box], [line, box], [line], encode(bitmap), encode(bitmap)][rng.integers(5)]


@pytest.mark.parametrize("seed", range(6))
def test_live_of_any_file_the_same_objects_are_learned_with_the_same_masks(seed: int, tmp_path: Path):
    """Read by Detectron2 from the file itself, and shrunk so far that bitmaps vanish."""
    data = pytest.importorskip("detectron2.data")
    from detectron2.data.datasets.coco import load_coco_json

    from transferbench.detection.by_detectron2 import configuration

    rng, masks = np.random.default_rng(seed), seed % 3 > 0
    box = [4.0, 6.0, 20.0, 15.0]  # of whole numbers Detectron2 cuts off what resizing gives them behind the point
    found = [annotation(i, int(rng.choice([10, 500])), 7, segmentation=random_mask(rng), bbox=box) for i in range(12)]
    root = coco(tmp_path, found)
    images = open_split(f"{root}/", "train", tmp_path)
    shrunk = ("INPUT.MIN_SIZE_TRAIN", "(12,)", "INPUT.RANDOM_FLIP", "none", "INPUT.FORMAT", "RGB")
    setting = adaptation.resolved("micro-r18-c4", (*shrunk, "MODEL.MASK_ON", str(masks)), None)
    config = configuration.configured(setting)
    config.INPUT.MASK_FORMAT = configuration.mask_format(images, setting)
    theirs = load_coco_json(str(root / "annotations" / "instances_train2017.json"), str(root / "train2017"), f"r{seed}")
    kept = {each["image_id"]: each for each in theirs if each["annotations"]}
    learned = loader.trainable(images, masks)
    assert sorted(kept) == sorted(images.boxes.ids[i] for i in learned)
    for i in learned:
        wanted = data.DatasetMapper(config, True)(kept[images.boxes.ids[i]])["instances"]
        mine = training_sample(images, i, (12, 160), False, masks).objects
        assert mine is not None
        torch.testing.assert_close(mine.boxes, wanted.gt_boxes.tensor, rtol=0, atol=1e-4)
        if masks:
            assert mine.rles is not None
            assert (wanted.gt_masks.tensor.numpy() == [decoded(each) for each in mine.rles]).all()


@pytest.mark.parametrize("tag", range(1, 9))
def test_live_images_are_turned_alike(tag: int, tmp_path: Path):
    utilities = pytest.importorskip("detectron2.data.detection_utils")
    root, exif = coco(tmp_path), Image.Exif()
    exif[0x112] = tag
    path = root / "train2017" / "000000000010.png"
    Image.open(path).save(path, exif=exif)
    upright = open_split(f"{root}/", "train", tmp_path).upright(0)
    assert (np.asarray(upright) == utilities.read_image(str(path), "RGB")).all()


def test_live_a_broken_image_and_one_of_another_size_are_named(tmp_path: Path):
    data = pytest.importorskip("detectron2.data")
    from transferbench.detection.by_detectron2 import catalog, configuration

    images = open_split(f"{coco(tmp_path)}/", "train", tmp_path)
    mapper = data.DatasetMapper(configuration.configured(recipe("RGB", "none", True)), False)
    entry = data.get_detection_dataset_dicts([catalog.register(images, True)], filter_empty=False)[0]
    path = tmp_path / "train2017" / "000000000010.png"
    Image.new("RGB", (41, 30)).save(path)
    with pytest.raises(UserError, match=r"000000000010.*is 41 x 30 pixels"):
        mapper(entry)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"Cannot decode image .*000000000010"):
        mapper(entry)
