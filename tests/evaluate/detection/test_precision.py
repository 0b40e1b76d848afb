"""COCO's figures by both engines and by hand; VOC's against a literal version of its protocol."""

import json
from itertools import pairwise

import forked
import numpy as np
import pytest
from jaxtyping import Float

from transferbench.data.annotations import Annotated, Annotation
from transferbench.detection.scoring import coco_precision, voc_precision
from transferbench.detection.targets import rle
from transferbench.errors import UserError

pytest.importorskip("pycocotools")
CLASSES = ("a", "b", "c")
SIDE = 200


def bitmap(box: tuple[float, ...]) -> np.ndarray:
    x, y, width, height = (round(value) for value in box)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[max(0, y) : y + height, max(0, x) : x + width] = 1
    return mask


def world(images: int, seed: int, scoring="coco") -> tuple[Annotated, list[dict]]:
    """Random objects, and detections near most of them with scores that often tie when rounded."""
    rng = np.random.default_rng(seed)
    objects, results, categories = [], [], (2, 3, 9)
    ids = [int(i) for i in rng.permutation(1000)[:images]] if scoring == "coco" else [f"{i:06d}" for i in range(images)]
    for image in ids:
        found = []
        for _ in range(int(rng.integers(0, 6))):
            x, y = rng.integers(0, 120, 2).tolist()
            width, height = rng.integers(6, 80, 2).tolist()
            label, box = int(rng.integers(3)), (float(x), float(y), float(width), float(height))
            mask = rle.encode(bitmap(box))
            crowd = scoring == "coco" and bool(rng.random() < 0.1)
            found.append(Annotation(box, label, mask, float(width * height), crowd, bool(rng.random() < 0.2)))
            for _ in range(int(rng.integers(0, 3))):
                near = np.array(box) + rng.normal(0, 4, 4)
                near[2:] = np.maximum(near[2:], 2)
                which = label if rng.random() < 0.8 else int(rng.integers(3))
                entry = {"image_id": image, "category_id": categories[which], "bbox": near.tolist()}
                score = float(rng.integers(0, 200)) / 200 + float(rng.random()) * 1e-4
                results.append({**entry, "score": min(score, 1.0), "segmentation": rle.encode(bitmap(tuple(near)))})
        objects.append(tuple(found))
    return Annotated(objects, ids, [(SIDE, SIDE)] * images, categories, scoring), results


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_both_engines_give_the_same_figures(kind):
    pytest.importorskip("hotcoco")
    annotated, results = world(40, 1)
    slow, fast = (coco_precision.precision(results, annotated, CLASSES, kind, by) for by in ("pycocotools", "hotcoco"))
    assert slow.values == pytest.approx(fast.values, abs=1e-9)
    assert slow.classes == pytest.approx(fast.classes, abs=1e-9)
    assert set(slow.values) == set(coco_precision.NAMES) - {"ap_large"}
    assert 5 < slow.values["ap"] < 95


@pytest.mark.parametrize("by", ["pycocotools", "hotcoco"])
def test_an_object_of_a_limiting_area_counts_in_both_ranges(by):
    if by == "hotcoco":
        pytest.importorskip("hotcoco")
    objects = (Annotation((0, 0, 32, 32), 0, area=1024), Annotation((50, 50, 96, 96), 0, area=9216))
    annotated = Annotated([objects], [7], [(SIDE, SIDE)], (2, 3, 9))
    found = coco_precision.precision([one((0, 0, 32, 32), 0.9)], annotated, CLASSES, "box", by)
    half = 100 * 51 / 101  # of medium objects, which both are
    assert [found.values[f"ap_{size}"] for size in ("small", "medium", "large")] == pytest.approx([100, half, 0])


def test_a_fork_of_a_process_that_has_scored_scores_too():
    pytest.importorskip("hotcoco")
    annotated, results = world(5, 2)
    expected = coco_precision.precision(results, annotated, CLASSES, "box").values

    def work() -> None:
        print(coco_precision.engine(), coco_precision.precision(results, annotated, CLASSES, "box").values == expected)

    assert forked.Fork(work).finish(60).stdout.split() == ["pycocotools", "True"]


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_equal_scores_are_ranked_alike(kind):
    pytest.importorskip("hotcoco")
    annotated, results = world(30, 4)
    results = [{**each, "score": round(each["score"], 1)} for each in results]
    slow, quick = (
        np.asarray(coco_precision.evaluated(results, annotated, kind, by).eval["precision"])
        for by in ("pycocotools", "hotcoco")
    )
    np.testing.assert_allclose(slow, quick, atol=1e-12)


def one(box: tuple[float, ...], score: float, category: int = 2) -> dict:
    return {"image_id": 7, "category_id": category, "bbox": list(box), "score": score}


def test_a_case_by_hand():
    """Two objects of class a; the surest detection is right at 60 %, the next is wrong: precision 1 up to recall .5."""
    objects = (Annotation((0, 0, 10, 10), 0, area=100), Annotation((50, 50, 40, 40), 0, area=1600))
    annotated = Annotated([objects], [7], [(SIDE, SIDE)], (2, 3, 9))
    results = [one((0, 0, 10, 6), 0.9), one((100, 100, 20, 20), 0.5)]
    found = coco_precision.precision(results, annotated, CLASSES, "box", "pycocotools")
    half = 100 * 51 / 101  # of 101 recalls 0 to .5
    assert found.values["ap50"] == pytest.approx(half)
    assert found.values["ap75"] == 0
    assert found.values["ap"] == pytest.approx(half * 3 / 10)  # right at .50, .55 and .60
    assert found.values["ap_small"] == pytest.approx(100 * 3 / 10)
    assert found.values["ap_medium"] == 0
    assert "ap_large" not in found.values
    assert list(found.classes) == ["a"]


def test_masks_are_sized_by_themselves_and_not_by_their_boxes():
    """A thin mask in a large box: a false one, left out of small ones if its box said how large it is."""
    truth = Annotation((0, 0, 20, 20), 0, rle.encode(bitmap((0, 0, 20, 20))), 400.0)
    annotated = Annotated([(truth,)], [7], [(SIDE, SIDE)], (2, 3, 9))
    wrong = {**one((0, 0, 150, 150), 0.9), "segmentation": rle.encode(bitmap((100, 100, 150, 2)))}
    right = {**one((0, 0, 20, 20), 0.5), "segmentation": rle.encode(bitmap((0, 0, 20, 20)))}
    found = coco_precision.precision([wrong, right], annotated, CLASSES, "mask", "pycocotools")
    assert found.values["ap_small"] == pytest.approx(50.0)


def test_detections_in_crowds_do_not_count():
    crowd = Annotation((100, 100, 80, 80), 0, None, 6400.0, crowd=True)
    annotated = Annotated([(Annotation((0, 0, 20, 20), 0, area=400), crowd)], [7], [(SIDE, SIDE)], (2, 3, 9))
    results = [one((110, 110, 10, 10), 0.9), one((0, 0, 20, 20), 0.5)]
    assert coco_precision.precision(results, annotated, CLASSES, "box").values["ap"] == pytest.approx(100)


def test_nothing_found_is_nothing_and_strangers_are_refused():
    annotated, results = world(5, 2)
    assert coco_precision.precision([], annotated, CLASSES, "box").values["ap"] == 0
    with pytest.raises(UserError, match="images that are not there, such as 5000"):
        coco_precision.precision([{**results[0], "image_id": 5000}], annotated, CLASSES, "box")
    with pytest.raises(UserError, match="of category 1; the data has 2, 3, 9"):
        coco_precision.precision([{**results[0], "category_id": 1}], annotated, CLASSES, "box")
    without = Annotated([(Annotation((0, 0, 9, 9), 0),)], [7], [(SIDE, SIDE)], (2, 3, 9))
    with pytest.raises(UserError, match=r"some objects have none annotated.*MODEL.MASK_ON"):
        coco_precision.precision([one((0, 0, 9, 9), 1)], without, CLASSES, "mask")


def literal_voc(annotated: Annotated, results: list[dict], label: int, overlap: float, eleven: bool) -> float:
    """VOC's own steps: a text file of detections, sorted by confidence, matched one after the other."""
    lines = [
        f"{each['image_id']} {each['score']:.3f} {each['bbox'][0] + 1:.1f} {each['bbox'][1] + 1:.1f} "
        f"{each['bbox'][0] + each['bbox'][2]:.1f} {each['bbox'][1] + each['bbox'][3]:.1f}"
        for each in results
        if each["category_id"] == annotated.categories[label]
    ]
    detections = [(line.split()[0], *map(float, line.split()[1:])) for line in lines]
    detections.sort(key=lambda each: -each[1])  # Python's sort is stable
    truths = {
        image: [[[x + 1, y + 1, x + w, y + h], each.difficult, False] for each in found
                for x, y, w, h in [each.box] if each.label == label]
        for image, found in zip(annotated.ids, annotated.objects, strict=True)
    }  # fmt: skip
    wanted = sum(not difficult for found in truths.values() for _, difficult, _ in found)
    true = false = 0
    curve = []
    for image, _, *box in detections:
        best, which = -1.0, None
        for truth in truths[image]:
            width = min(box[2], truth[0][2]) - max(box[0], truth[0][0]) + 1
            height = min(box[3], truth[0][3]) - max(box[1], truth[0][1]) + 1
            shared = max(width, 0) * max(height, 0)
            areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, truth[0])]
            if shared / (sum(areas) - shared) > best:
                best, which = shared / (sum(areas) - shared), truth
        if which is not None and best > overlap:
            if not which[1]:
                true, false = (true + 1, false) if not which[2] else (true, false + 1)
                which[2] = True
        else:
            false += 1
        curve.append((true / wanted, true / max(true + false, 1e-16)))
    if eleven:
        points = [i / 10 for i in range(11)]
        return sum(max([p for r, p in curve if r >= t - 1e-12], default=0) for t in points) / 11
    ends = sorted({0.0, *(r for r, _ in curve)})
    return sum((b - a) * max(p for r, p in curve if r >= b) for a, b in pairwise(ends))


@pytest.mark.parametrize("scoring", ["voc2007", "voc2012"])
def test_voc_is_what_its_protocol_says(scoring):
    annotated, results = world(60, 3, scoring)
    eleven = scoring == "voc2007"
    table = np.array([
        [100 * literal_voc(annotated, results, label, t / 100, eleven) for label in range(3)]
        for t in voc_precision.THRESHOLDS
    ])  # fmt: skip
    found = voc_precision.precision(results, annotated, CLASSES)
    assert found.values["ap"] == pytest.approx(table.mean(), abs=1e-9)
    assert found.values["ap50"] == pytest.approx(table[0].mean(), abs=1e-9)
    assert found.values["ap75"] == pytest.approx(table[5].mean(), abs=1e-9)
    assert list(found.classes.values()) == pytest.approx(table.mean(0).tolist(), abs=1e-9)
    assert 5 < found.values["ap"] < found.values["ap50"] < 95


def curve(values: list[float]) -> Float[np.ndarray, "n"]:
    return np.array(values)


def test_voc_averages_by_hand():
    recall, precision = curve([0.5, 0.5, 1.0]), curve([1.0, 0.5, 2 / 3])
    assert voc_precision.average(recall, precision, False) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert voc_precision.average(recall, precision, True) == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_results_survive_json():
    _, results = world(3, 4)
    assert json.loads(json.dumps(results)) == results
