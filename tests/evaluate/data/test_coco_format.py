"""What COCO's annotation files may hold: each fault is named with its file and entry before anything is made of it."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from transferbench.data import coco_format
from transferbench.data.coco_format import categories
from transferbench.data.packing import Annotation
from transferbench.errors import UserError

SQUARE = [4, 6, 24, 6, 24, 21, 4, 21]
CODE = {"size": [30, 40], "counts": [120, 300, 780]}
TABLES: dict[str, Any] = {
    "images": [{"id": i, "file_name": f"{i}.png", "height": 30, "width": 40} for i in (10, 500, 77)],
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    "annotations": [
        {"id": i, "image_id": image, "category_id": 7, "bbox": [4, 6, 20, 15], "segmentation": mask, "iscrowd": 0}
        for i, image, mask in ((1, 10, [SQUARE]), (2, 10, CODE), (3, 77, [SQUARE]))
    ],
}
NAN, INFINITE = float("nan"), float("inf")
FILE = "mine/instances_val.json"


def changed(change: Callable[[dict[str, Any]], object]) -> coco_format.CocoFile:
    tables = copy.deepcopy(TABLES)
    change(tables)
    return coco_format.read(lambda: json.dumps(tables).encode(), FILE)


def first(**values: Any) -> list[tuple[Annotation, ...]]:
    """The objects when the first annotation is changed; None takes a key away."""

    def change(tables: dict[str, Any]) -> None:
        entry = tables["annotations"][0]
        entry.update(values)
        for key in [key for key, value in values.items() if value is None]:
            del entry[key]

    return list(changed(change).objects())


def image(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tables: tables["images"][1].update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (image(id=10), r"image 10 is 500.png, and of the same id is 10.png"),
        (image(file_name="10.png"), "image 500 is 10.png, as image 10 is; expected one entry for a file"),
        (image(id=None), "image null has no id"),
        (image(id=[1]), r"image \[1\] has the id \[1\]"),
        (image(id=True), "has the id true"),
        (image(height=None), "image 500 has no height"),
        (image(height=0), "height 0; expected whole pixels"),
        (image(width=-40), "width -40"),
        (image(height=30.5), "height 30.5"),
        (image(height="thirty"), 'height "thirty"'),
        (image(file_name=None), "no file_name"),
        (image(file_name=5), "file_name 5; expected text"),
        (lambda t: t["images"].__setitem__(1, [1]), r"image number 2 is \[1\]"),
        (lambda t: t["categories"].append({"id": 7, "name": "fox"}), "category 7 fox has the id of another, cat"),
        (lambda t: t["categories"].append({"id": 7, "name": "cat"}), "category 7 cat has the id of another"),
        (lambda t: t["categories"][0].pop("name"), "category 7 has no name"),
        (lambda t: t["categories"][0].update(name=["cat"]), r'category 7 has the name \["cat"\]; expected text'),
        (lambda t: t["categories"][0].update(name="\ud800"), r"name .*ud800.*; expected text"),
        (lambda t: t["categories"][0].update(id="cat"), 'category "cat" has an id that is no whole number of 32 bits'),
        (lambda t: t["categories"][0].update(id=2**40), "category 1099511627776 has an id that is no whole number"),
        (lambda t: t.update(annotations=[]), "annotates none of its 3 images"),
        (lambda t: t.update(annotations=None), "not in COCO's format"),
        (lambda t: t.update(images=[]), "lists no images"),
    ],
)
def test_what_is_wrong_with_images_and_categories_is_named(change: Callable[[dict[str, Any]], object], said: str):
    with pytest.raises(UserError, match=f"^{FILE}.*{said}"):
        changed(change)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"bbox": None}, "has no bbox"),
        ({"bbox": []}, r"bbox \[\]; expected \[x, y, width, height\]"),
        ({"bbox": [1, 2, 3, 4, 5]}, "bbox"),
        ({"bbox": [4, NAN, 20, 15]}, "NaN in its bbox; expected finite"),
        ({"bbox": [4, 6, INFINITE, 15]}, "Infinity in its bbox"),
        ({"bbox": [4, None, 20, 15]}, "null in its bbox"),
        ({"bbox": [True, 6, 20, 15]}, "true in its bbox"),
        ({"bbox": [24, 6, -20, 15]}, "not negative"),
        ({"bbox": [0, 0, 1e308, 1e308]}, "far outside its image of 40 x 30"),
        ({"category_id": None}, "has no category_id"),
        ({"category_id": 7.5}, "category_id 7.5"),
        ({"category_id": "cat"}, 'is of category "cat" in image 10, .* no such category. Category ids there: 3, 7'),
        ({"image_id": None}, "has no image_id"),
        ({"image_id": "ten"}, 'in image "ten", and its lists have no such image'),
        ({"iscrowd": 2}, "iscrowd 2; expected 0 or 1"),
        ({"iscrowd": []}, r"iscrowd \[\]"),
        ({"ignore": 1}, "marked to be ignored"),
        ({"area": NAN}, "NaN in its area"),
        ({"area": -1}, "the area -1"),
        ({"segmentation": 5}, "segmentation 5; expected outlines"),
        ({"segmentation": "4 6 24 6 24 21"}, 'segmentation "4 6'),
        ({"segmentation": [["4", "6", "24", "6", "24", "21"]]}, "expected outlines"),
        ({"segmentation": [{"x": 4, "y": 6}]}, "expected outlines"),
        ({"segmentation": [[[4, 6], [24, 6, 1]]]}, "expected outlines"),
        ({"segmentation": [[4, 6, NAN, 6, 24, 21]]}, "not finite"),
        ({"segmentation": [[4, 6, 1e9, 6, 1e9, 21]]}, "1e.09 in its outlines, far outside"),
        ({"segmentation": CODE | {"size": [40, 30]}}, r"size \[40, 30\] \(width and height are swapped\)"),
        ({"segmentation": {"size": [15, 20], "counts": [60, 75, 165]}}, r"size \[15, 20\]; expected"),
        ({"segmentation": {"counts": [1200]}}, "expected outlines"),
        ({"segmentation": {"size": [30, 40], "counts": None}}, "expected outlines"),
        ({"segmentation": CODE | {"counts": [120, 300, 779]}}, "1199 pixels in all; its image of 40 x 30 has 1200"),
        ({"segmentation": CODE | {"counts": [120, 300, -20, 800]}}, "a run of -20 pixels"),
        ({"segmentation": CODE | {"counts": [120, 300.5, 779.5]}}, "a run of 300.5 pixels"),
        ({"segmentation": CODE | {"counts": [1200, None]}}, "a run of None pixels"),
        ({"segmentation": CODE | {"counts": "%%"}}, "text that is no code of runs"),
        ({"segmentation": CODE | {"counts": "P" * 5000 + "1"}}, "text that is no code of runs"),
        ({"segmentation": CODE | {"counts": "P"}}, "text that breaks off"),
    ],
)
def test_what_is_wrong_with_an_annotation_is_named(values: dict[str, Any], said: str):
    with pytest.raises(UserError, match=f"^{FILE}: annotation 1 .*{said}"):
        first(**values)


def test_an_annotation_without_id_is_called_by_its_place():
    with pytest.raises(UserError, match=r"annotation number 1 \(without id\) has no bbox"):
        first(id=None, bbox=None)
    with pytest.raises(UserError, match=r"annotation number 2 \(without id\) is \[1\]; expected"):
        changed(lambda t: t["annotations"].__setitem__(1, [1])).objects()


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '{"images": [{"height": ' + "3" * 5000, "\xff\xfe{"])
def test_what_is_no_json_is_said(text: str):
    with pytest.raises(UserError, match="cannot be read as JSON"):
        coco_format.read(lambda: text.encode("latin-1"), FILE)


def test_a_repeat_that_says_the_same_is_left_out_and_counted():
    file = changed(lambda t: t["images"].insert(1, dict(t["images"][0])))
    assert [each.id for each in file.images] == [10, 500, 77]
    assert [len(each) for each in file.objects()] == [2, 0, 1]  # and not the next image's
    assert file.notes == [f"{FILE}: 1 of the 4 image entries repeat another (first: image 10) and are left out."]
    file = changed(lambda t: t["annotations"].append(t["annotations"][1]))
    assert [len(each) for each in file.objects()] == [2, 0, 1]
    assert file.notes == [f"{FILE}: 1 of the 4 annotations repeat another and are left out."]
    file = changed(lambda t: t["annotations"].append(t["annotations"][1] | {"bbox": [1, 1, 2, 2]}))
    with pytest.raises(UserError, match="two different annotations have the id 2"):
        file.objects()


def test_ids_are_the_same_whether_numbers_or_text():
    def as_text(tables: dict[str, Any]) -> None:
        for each in tables["images"]:
            each["id"] = str(each["id"])
        for each in tables["categories"]:
            each["id"] = str(each["id"])
        tables["annotations"][0].update(image_id=10.0, category_id="7", iscrowd="0")

    file, plain = changed(as_text), changed(lambda t: None)
    assert [each.id for each in file.images] == ["10", "500", "77"]  # results are written with the file's own
    assert file.categories == plain.categories
    assert file.objects() == plain.objects()


def test_ids_of_other_text_are_not_mixed_up():
    def change(tables: dict[str, Any]) -> None:
        tables["images"][0]["id"], tables["images"][2]["id"] = "07", "7"
        for each, number in zip(tables["annotations"], ("07", "07", "7"), strict=True):
            each["image_id"] = number

    assert [len(each) for each in changed(change).objects()] == [2, 0, 1]


def test_more_categories_than_a_detector_is_built_for_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(categories, "MOST", 1)
    with pytest.raises(UserError, match="lists 2 categories"):
        changed(lambda t: None)


def test_classes_of_one_name_are_told_apart():
    file = changed(lambda t: t["categories"].append({"id": 5, "name": "cat"}))
    assert file.categories == ((3, 5, 7), ("dog", "cat (5)", "cat (7)"))


def test_outlines_are_read_flat_and_as_pairs():
    pairs = [[4, 6], [24, 6], [24, 21], [4, 21]]
    for shape in ([SQUARE], SQUARE, pairs, [pairs]):
        assert first(segmentation=shape)[0][0].mask == [SQUARE]
    assert first(segmentation=[SQUARE, pairs, [1, 2, 3, 4]])[0][0].mask == [SQUARE, SQUARE]


def test_run_lengths_are_kept_as_they_are_or_as_whole_numbers():
    assert first()[0][1].mask == CODE
    assert first(segmentation=CODE | {"counts": [120, 300.0, 780]})[0][0].mask == CODE
    text = {"size": [30, 40], "counts": "h3\\9\\h0"}
    assert first(segmentation=text)[0][0].mask == text


@pytest.mark.parametrize(
    "outlines", [[[1, 1, 2, 2]], [[4, 6, 24, 6, 9]], [[4, 6, 24, 6, 9, 9, 9]], [[4, 6]], [[]], [4, 6], [[4, 6], [5, 7]]]
)
def test_outlines_without_three_corners_take_their_object_out_of_training_and_are_counted(outlines: list[Any]):
    file = changed(lambda t: t["annotations"][0].update(segmentation=outlines))
    packed = file.objects()
    assert packed[0][0].mask == []
    assert packed.unusable.tolist() == [True, False, False]
    assert "1 of the 3 objects have no outline of three corners (first: annotation 1)" in file.notes[0]


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_no_mask_is_none(nothing: Any):
    assert first(segmentation=nothing)[0][0].mask is None


def test_flags_and_areas_are_read():
    assert first(iscrowd="1")[0][0].crowd
    assert first(iscrowd=True)[0][0].crowd
    assert not first(iscrowd=None)[0][0].crowd
    assert not first(ignore=0)[0][0].crowd
    assert first(area="12.5")[0][0].area == 12.5
    assert first(area=None)[0][0].area is None
    assert first(bbox=[4, 6, 0, 15])[0][0].box == (4, 6, 0, 15)  # COCO has such boxes; they are left out of training
