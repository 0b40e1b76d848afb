"""Scores of label maps against their definition pixel by pixel, and against what other libraries say of them."""

import json
import warnings
from itertools import product

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from transferbench.data.label_maps import UNCOUNTED
from transferbench.errors import UserError
from transferbench.segmentation.scoring import (
    METRICS,
    PixelCounts,
    Scoring,
    by_class,
    means,
    pixel_counts,
    segmentation_scores,
)

Maps = tuple[np.ndarray, np.ndarray]
LAWS = list(product(("left out", "0", "1"), ("over the set", "by image")))
CLASSES = 6
"""Of the maps below; the last is nowhere, and the one before it in one image alone."""


def all_counted() -> Maps:
    """Three images of 12 x 16 pixels: true and predicted classes."""
    i, y, x = np.ogrid[:3, :12, :16]
    truth = (y // 3 + x // 4 * (i + 1) + i) % (4 + i // 2)
    predicted = np.where((y * y + 3 * x * y + i) % 5 < 3, truth, (x // 3 + y // 5) % 4)
    return truth.astype(np.int16), predicted.astype(np.int64)


def some_uncounted() -> Maps:
    truth, predicted = all_counted()
    _, y, x = np.ogrid[:3, :12, :16]
    return np.where((x + y) % 11 == 0, UNCOUNTED, truth).astype(np.int16), predicted


EXAMPLE: Maps = np.array([[[0, 0, 1, 1]]], np.int16), np.array([[[0, 1, 1, 1]]])
"""Three classes, one of them absent."""
PAIR: Maps = np.array([[[0, 0, 0, 0]], [[0, 0, 1, 2]]], np.int16), np.array([[[0, 0, 0, 1]], [[0, 1, 1, 2]]])
"""Four classes, one of them absent."""


def counted(maps: Maps, classes: int = CLASSES) -> PixelCounts:
    return PixelCounts.joined([pixel_counts(*pair, classes) for pair in zip(*maps, strict=True)])


def scores(maps: Maps, absent, averaged, classes: int = CLASSES) -> dict[str, float]:
    return {each.metric: each.value / 100 for each in segmentation_scores(counted(maps, classes), absent, averaged)}


def literal(truth: np.ndarray, predicted: np.ndarray, classes: int, absent: str) -> tuple[float, float, float]:
    """The definition: sets of pixels, class by class."""
    pixels = [(t, p) for t, p in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True) if t >= 0]
    iou, accuracy = [], []
    for c in range(classes):
        own = {i for i, (t, _) in enumerate(pixels) if t == c}
        taken = {i for i, (_, p) in enumerate(pixels) if p == c}
        for shares, whole in ((iou, own | taken), (accuracy, own)):
            if whole:
                shares.append(len(own & taken) / len(whole))
            elif absent != "left out":
                shares.append(float(absent))
    return sum(iou) / len(iou), sum(accuracy) / len(accuracy), sum(t == p for t, p in pixels) / len(pixels)


def random_maps(images: int, seed: int) -> Maps:
    """Images that differ in which classes they hold and in how many pixels are right; 0 to 4 of `CLASSES` occur."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(UNCOUNTED, rng.integers(1, 6, (images, 1, 1)), (images, 4, 5))
    right = rng.random(truth.shape) < rng.random((images, 1, 1))
    predicted = np.where(right & (truth >= 0), truth, rng.integers(0, 5, truth.shape))
    return truth.astype(np.int16), predicted


@pytest.mark.parametrize(("absent", "averaged"), LAWS)
@pytest.mark.parametrize("maps", [all_counted(), some_uncounted(), random_maps(30, 1)])
def test_scores_are_the_definition(maps, absent, averaged):
    parts = list(zip(*maps, strict=True)) if averaged == "by image" else [maps]
    expected = np.mean([literal(*part, CLASSES, absent) for part in parts], axis=0)
    assert scores(maps, absent, averaged) == pytest.approx(dict(zip(METRICS, expected, strict=True)), abs=1e-12)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64])
def test_predictions_may_be_of_any_kind_of_number(kind):
    truth, predicted = some_uncounted()
    found = pixel_counts(truth[0], predicted[0].astype(kind), CLASSES)
    for counts, of in ((found.labeled, truth[0]), (found.predicted, predicted[0])):
        assert counts.tolist() == [[((of == c) & (truth[0] >= 0)).sum() for c in range(CLASSES)]]
    assert found.intersection.sum() == (truth[0] == predicted[0]).sum()


@pytest.mark.parametrize(("absent", "averaged"), LAWS)
def test_the_interval_is_that_of_images_really_drawn(absent, averaged):
    truth, predicted = random_maps(25, 2)
    table = counted((truth, predicted))
    rng, found = np.random.default_rng(7), []
    for _ in range(2000):
        drawn = rng.integers(0, 25, 25)
        chosen = np.concatenate([part[drawn] for part in (table.intersection, table.labeled, table.predicted)], 1)
        by_image = averaged == "by image"
        rows = (
            means(chosen.astype(np.float64), absent)
            if by_image
            else means(chosen.sum(0, keepdims=True) * 1.0, absent)[0]
        )
        found.append(rows.mean(0) if by_image else rows)
    expected = 100 * np.quantile(found, [0.025, 0.975], axis=0).T
    got = segmentation_scores(table, absent, averaged)
    assert np.array([each.bootstrap for each in got]) == pytest.approx(expected, abs=1.5)
    assert all(each.bootstrap[0] < each.value < each.bootstrap[1] and each.n == 25 for each in got)
    assert got == segmentation_scores(table, absent, averaged)


def test_an_image_without_a_counted_pixel_changes_nothing():
    truth, predicted = some_uncounted()
    none = np.full((2, 12, 16), UNCOUNTED, np.int16)
    more = np.concatenate([none[:1], truth, none[1:]]), np.concatenate([predicted[:1], predicted, predicted[1:2]])
    for absent, averaged in LAWS:
        plain, with_empty = (
            segmentation_scores(counted(maps), absent, averaged) for maps in ((truth, predicted), more)
        )
        assert plain == with_empty


def test_maps_that_hold_no_class_are_refused():
    truth, predicted = np.full((2, 3, 3), UNCOUNTED, np.int16), np.zeros((2, 3, 3), np.int64)
    with pytest.raises(UserError, match=r"No pixel of the 2 images has a class.*`ignore_index` and `reduce_labels`"):
        segmentation_scores(counted((truth, predicted)), "left out", "over the set")


@pytest.mark.parametrize(
    ("true", "found", "message"),
    [
        (3, 0, "true classes from 3 to 3; expected -1 to 2"),
        (-2, 0, "true classes from -2 to -2"),
        (0, 3, "predicted classes from 3 to 3; expected 0 to 2"),
        (0, -1, "predicted classes from -1 to -1"),
    ],
)
def test_a_number_that_is_no_class_is_an_error(true, found, message):
    with pytest.raises(ValueError, match=message):
        pixel_counts(np.full((2, 2), true, np.int16), np.full((2, 2), found, np.int16), 3)


def test_the_table_of_classes_is_json_without_nan():
    truth = np.array([[[0, 0, 1, 1, 2]]], np.int16)
    rows = by_class(counted((truth, np.array([[[0, 1, 1, 3, 3]]])), 5), ["a", "b", "c", "d", "e"])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert [(row["class"], row["iou"], row["accuracy"]) for row in rows] == [
        ("a", 50.0, 50.0),
        ("b", pytest.approx(100 / 3), 50.0),
        ("c", 0.0, 0.0),
        ("d", 0.0, None),
        ("e", None, None),
    ]
    assert [(row["labeled"], row["predicted"]) for row in rows] == [(2, 1), (2, 2), (1, 0), (0, 2), (0, 0)]


def test_absent_may_be_written_as_a_number():
    assert Scoring.model_validate({"absent": 0}) == Scoring(absent="0")
    assert Scoring() == Scoring(absent="left out", averaged="over the set")
    with pytest.raises(ValueError, match="absent"):
        Scoring.model_validate({"absent": True})


# What other libraries report. torchmetrics and segmentation-models-pytorch are not needed here: their numbers were
# written down once, torchmetrics 1.9.0 and segmentation-models-pytorch 0.6.0 on torch 2.15.0.


@pytest.mark.parametrize(
    ("maps", "classes", "jaccard", "labels", "ones"),
    [
        (EXAMPLE, 3, 0.583333, 0.388889, 0.722222),
        (PAIR, 4, 0.666667, 0.5, 0.75),
        (all_counted(), CLASSES, 0.642736, 0.535613, 0.70228),
        (some_uncounted(), CLASSES, 0.646291, 0.538576, 0.705242),
    ],
)
def test_over_the_set_it_is_what_three_libraries_say(maps, classes, jaccard, labels, ones):
    """`jaccard` is torchmetrics' JaccardIndex, `ones` smp's iou_score with "macro", both from their own counts."""
    values = {absent: scores(maps, absent, "over the set", classes)["miou"] for absent in ("left out", "0", "1")}
    assert values == pytest.approx({"left out": jaccard, "0": labels, "1": ones}, abs=1e-6)
    kept = maps[0] >= 0
    pairs, every = (maps[0][kept], maps[1][kept]), list(range(classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert values["left out"] == pytest.approx(jaccard_score(*pairs, average="macro"), abs=1e-12)
        assert values["0"] == pytest.approx(jaccard_score(*pairs, average="macro", labels=every), abs=1e-12)
        with_ones = jaccard_score(*pairs, average="macro", labels=every, zero_division=1)
        assert values["1"] == pytest.approx(with_ones, abs=1e-12)


@pytest.mark.parametrize(
    ("maps", "classes", "zeros", "ones"),
    [
        (PAIR, 4, 0.34375, 0.71875),
        (all_counted(), CLASSES, 0.463071, 0.740849),
        (some_uncounted(), CLASSES, 0.4607, 0.738477),
    ],
)
def test_by_image_it_is_what_smp_says_of_images(maps, classes, zeros, ones):
    """smp's iou_score with "macro-imagewise" and `zero_division` 0 and 1."""
    values = [scores(maps, absent, "by image", classes)["miou"] for absent in ("0", "1")]
    assert values == pytest.approx([zeros, ones], abs=1e-6)


@pytest.mark.parametrize(("maps", "classes", "pairs"), [(PAIR, 4, 0.55), (all_counted(), CLASSES, 0.641176)])
def test_torchmetrics_mean_iou_is_the_mean_over_all_pairs_of_image_and_class(maps, classes, pairs):
    """Which is neither of ours: an image counts as often as it has classes."""
    table = counted(maps, classes)
    union = table.labeled + table.predicted - table.intersection
    assert (table.intersection[union > 0] / union[union > 0]).mean() == pytest.approx(pairs, abs=1e-6)
    for absent, averaged in LAWS:
        assert scores(maps, absent, averaged, classes)["miou"] != pytest.approx(pairs, abs=1e-6)


@pytest.mark.parametrize("maps", [EXAMPLE, all_counted(), some_uncounted(), random_maps(30, 3)])
def test_hotcoco_says_the_same_by_class_too(maps):
    semantic = pytest.importorskip("hotcoco.semantic")
    judge = semantic.SemanticEval(CLASSES)
    judge.update(np.where(maps[0] == UNCOUNTED, 255, maps[0]), maps[1])
    theirs, ours = judge.report()["metrics"], scores(maps, "left out", "over the set")
    assert ours == pytest.approx(
        {"miou": theirs["mIoU"], "mean_accuracy": theirs["mAcc"], "pixel_accuracy": theirs["aAcc"]}, abs=1e-12
    )
    for row, their in zip(by_class(counted(maps), "abcdef"), judge.results()["per_class"], strict=True):
        iou, accuracy = (-1.0 if row[key] is None else row[key] / 100 for key in ("iou", "accuracy"))
        assert (iou, accuracy) == pytest.approx((their["IoU"], their["Acc"]), abs=1e-12)
