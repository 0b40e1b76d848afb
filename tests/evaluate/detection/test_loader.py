import os
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from annotated import annotation, coco, picture
from PIL import Image

from transferbench.data import LabeledImages, open_split
from transferbench.data.annotations import Annotation
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.targets import rle, views
from transferbench.detection.targets.rle import decoded
from transferbench.detection.training import loader
from transferbench.errors import UserError


def recipe(**groups) -> DetectionRecipe:
    return DetectionRecipe.model_validate({"INPUT": {"FORMAT": "RGB", **groups.pop("INPUT", {})}, **groups})


def many(n: int = 12) -> LabeledImages:
    """Scenes of the embedded set, said to be broad or upright in turn."""
    images = open_split("digit-scenes", "train", Path("no-root")).subset(np.arange(n), "test")
    assert images.annotated is not None
    sizes = [(128, 160) if i % 3 else (160, 128) for i in range(n)]
    return replace(images, annotated=replace(images.annotated, sizes=sizes))


@pytest.mark.parametrize(
    ("size", "shorter", "longest", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1067)),  # 1066.67
        ((640, 480), 800, 1333, (1067, 800)),
        ((427, 640), 800, 1333, (800, 1199)),
        ((300, 900), 800, 1333, (444, 1333)),  # the longer side binds
        ((500, 500), 600, 1000, (600, 600)),
        ((30, 40), 0, 1333, (30, 40)),
        ((200, 333), 100, 1333, (100, 167)),  # 166.5 is rounded up
    ],
)
def test_sizes_are_detectron2s(size: tuple[int, int], shorter: int, longest: int, expected: tuple[int, int]):
    assert views.scaled(size, shorter, longest) == expected


def test_pixels_are_pils_and_boxes_and_outlines_go_along(tmp_path: Path):
    images = open_split(f"{coco(tmp_path)}/", "train", tmp_path)
    found = views.training_sample(images, 0, (60, 1333), flips=True, with_masks=True)
    expected = np.asarray(images.image(0).resize((80, 60), Image.Resampling.BILINEAR))[:, ::-1]
    assert torch.equal(found.pixels, torch.from_numpy(expected.copy()).permute(2, 0, 1).float())
    assert found.size == (30, 40)
    assert found.objects is not None
    assert found.objects.boxes.tolist() == [[80 - 48, 12, 80 - 8, 42], [80 - 28, 0, 80 - 8, 60]]
    assert found.objects.labels.tolist() == [1, 2]  # the crowd is not learned
    tested = views.sample(images, 0, 60, 1333)
    assert tested.objects is None
    assert torch.equal(tested.pixels, found.pixels.flip(2))


def test_outlines_stay_outlines_where_all_are(tmp_path: Path):
    images = open_split(f"{coco(tmp_path, [annotation(1, 10, 7)])}/", "train", tmp_path)
    found = views.training_sample(images, 0, (60, 1333), flips=True, with_masks=True).objects
    assert found is not None
    assert found.polygons is not None
    assert found.polygons[0][0].tolist() == [72, 12, 32, 12, 32, 42, 72, 42]
    plain = views.training_sample(images, 0, (60, 1333), flips=False, with_masks=False).objects
    assert plain is not None
    assert plain.polygons is None
    assert plain.rles is None


def test_codes_are_resized_by_the_nearest_pixel_and_mirrored():
    bitmap = np.zeros((4, 6), bool)
    bitmap[1:3, 0:2] = True
    code = rle.encode(bitmap)
    found = views.objects([Annotation((0, 1, 2, 2), 0, code)], (4, 6), (8, 12), True, "bitmaps")
    assert found.rles is not None
    expected = np.kron(bitmap, np.ones((2, 2), int))[:, ::-1]
    assert np.array_equal(decoded(found.rles[0]), expected)
    assert found.boxes.tolist() == [[8, 2, 12, 6]]


def test_a_bitmap_that_vanishes_when_resized_is_no_object_and_an_outline_beside_bitmaps_is_one():
    """Detectron2's `filter_empty_instances` looks at masks as well; a third of the size keeps every third pixel."""
    dot, square = np.zeros((6, 9), bool), np.zeros((6, 9), bool)
    dot[0, 0] = square[0:4, 0:4] = True
    sliver = [[0.0, 0.0, 6.0, 0.0, 6.0, 0.1]]
    found = [
        Annotation((0, 0, 1, 1), 0, rle.encode(dot)),
        Annotation((0, 0, 4, 4), 1, rle.encode(square)),
        Annotation((0, 0, 6, 6), 2, sliver),
    ]
    for flips in (False, True):
        kept = views.objects(found, (6, 9), (2, 3), flips, "bitmaps")
        assert kept.labels.tolist() == [1]
        assert len(kept.boxes) == 1
        assert kept.rles is not None
        assert decoded(kept.rles[0]).sum() == 1
    assert views.objects(found[2:], (6, 9), (2, 3), False, "outlines").labels.tolist() == [2]
    assert views.objects(found, (6, 9), (2, 3), False, None).labels.tolist() == [0, 1, 2]
    assert views.objects(found[:1], (6, 9), (2, 3), False, "bitmaps").rles == []


def test_in_a_set_with_bitmaps_all_masks_are_bitmaps_as_in_detectron2(tmp_path: Path):
    bitmap = {"size": [30, 40], "counts": [120, 300, 780]}
    objects = [annotation(1, 10, 7), annotation(2, 500, 7, segmentation=bitmap, bbox=[4, 0, 10, 30])]
    images = open_split(f"{coco(tmp_path, objects)}/", "train", tmp_path)
    found = views.training_sample(images, 0, (60, 1333), False, True).objects
    assert found is not None
    assert found.polygons is None
    assert found.rles is not None
    expected = np.zeros((60, 80), bool)
    expected[12:42, 8:48] = True  # drawn on the image of twice the size
    assert np.array_equal(decoded(found.rles[0]), expected)


def test_boxes_are_cut_and_empty_ones_left_out():
    found = views.objects(
        [Annotation((-5, -5, 15, 10), 1), Annotation((3, 3, 0, 5), 2), Annotation((45, 1, 5, 5), 0)],
        (30, 40), (30, 40), False, None,
    )  # fmt: skip
    assert found.boxes.tolist() == [[0, 0, 10, 5]]
    assert found.labels.tolist() == [1]


def test_an_image_of_another_size_than_its_annotations_is_refused(tmp_path: Path):
    root = coco(tmp_path)
    picture(root / "train2017" / "000000000010.png", 41, 30)
    images = open_split(f"{root}/", "train", tmp_path)
    with pytest.raises(UserError, match=r"41 x 30 pixels; its annotations are for 40 x 30"):
        views.sample(images, 0, 30, 100)


def test_images_with_nothing_to_learn_are_left_out(tmp_path: Path):
    images = open_split(f"{coco(tmp_path)}/", "train", tmp_path)
    assert loader.trainable(images, True) == [0]
    for is_filtered, seen in ((True, {0}), (False, {0, 1, 2})):
        setting = recipe(SOLVER={"IMS_PER_BATCH": 1}, DATALOADER={"FILTER_EMPTY_ANNOTATIONS": is_filtered})
        assert {draw.index for batch in islice(loader.batches(images, setting, 0), 6) for draw in batch} == seen


def test_batches_hold_one_shape_and_every_image_comes_once_an_order():
    images, setting = many(), recipe(SOLVER={"IMS_PER_BATCH": 4}, INPUT={"MIN_SIZE_TRAIN": (96, 128)})
    assert images.annotated is not None
    sizes = images.annotated.sizes
    found = list(islice(loader.batches(images, setting, seed=1), 9))
    for batch in found:
        assert len(batch) == 4
        assert len({sizes[draw.index] for draw in batch}) == 1
    assert {draw.shorter for batch in found for draw in batch} == {96, 128}
    assert {draw.flips for batch in found for draw in batch} == {True, False}
    once = list(islice(loader.stream(range(12), setting, 1), 24))
    assert sorted(draw.index for draw in once[:12]) == sorted(draw.index for draw in once[12:]) == list(range(12))
    assert [draw.index for draw in once[:12]] != [draw.index for draw in once[12:]]


def test_ungrouped_batches_are_the_stream_itself():
    setting = recipe(SOLVER={"IMS_PER_BATCH": 4}, DATALOADER={"ASPECT_RATIO_GROUPING": False})
    drawn = [draw for batch in islice(loader.batches(many(), setting, 1), 3) for draw in batch]
    assert drawn == list(islice(loader.stream(range(12), setting, 1), 12))


def test_processes_share_a_batch():
    images, setting = many(), recipe(SOLVER={"IMS_PER_BATCH": 4})
    alone = list(islice(loader.batches(images, setting, 5), 6))
    parts = [list(islice(loader.batches(images, setting, 5, (rank, 2)), 6)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*parts, strict=True)] == alone


def test_loader_processes_change_nothing_and_tell_errors(tmp_path: Path):
    setting = recipe(SOLVER={"IMS_PER_BATCH": 2}, INPUT={"MIN_SIZE_TRAIN": (64, 96)})
    images = open_split("digit-scenes", "train", tmp_path).subset(np.arange(4), "test")
    both = [list(loader.loaded(images, setting, loader.batches(images, setting, 0), 3, workers)) for workers in (0, 2)]
    plan = list(islice(loader.batches(images, setting, 0), 3))
    assert len({(draw.shorter, draw.flips) for batch in plan for draw in batch}) > 2
    for here, there, draws in zip(*both, plan, strict=True):
        assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(here, there, strict=True))
        for found, draw in zip(here, draws, strict=True):
            wanted = views.training_sample(images, draw.index, (draw.shorter, 1333), draw.flips, False)
            assert torch.equal(found.pixels, wanted.pixels)
    root = coco(tmp_path, [annotation(1, 10, 7)])
    (root / "train2017" / "000000000010.png").write_bytes(b"none")
    broken = open_split(f"{root}/", "train", tmp_path)
    with pytest.raises(UserError, match="Cannot decode"):
        list(loader.loaded(broken, setting, loader.batches(broken, setting, 0), 1, 1))


def test_a_loader_process_that_dies_is_told_in_words(tmp_path: Path):
    setting = recipe(SOLVER={"IMS_PER_BATCH": 2}, INPUT={"MIN_SIZE_TRAIN": (64,)})
    images = open_split("digit-scenes", "train", tmp_path).subset(np.arange(4), "test")
    killed = replace(images, read=lambda index: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match=r"A loader process died while loading a batch of the detector's training"):
        list(loader.loaded(killed, setting, loader.batches(killed, setting, 0), 2, 1))
