"""Labels, and which split is judged: what is wrong is refused or mapped, and what is left out is said and recorded."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import coloured
import numpy as np
import pytest
from coloured import CLASSES, judged, parquet, relabeled, right, shard, top1

from transferbench import records, tables
from transferbench.comparison.experiments import cure, differences
from transferbench.data import LabeledImages
from transferbench.data.dataset import Dataset, open_dataset
from transferbench.data.labels import by_number, checked, integers
from transferbench.errors import UserError
from transferbench.records import Record
from transferbench.report.artifacts import again
from transferbench.report.library import Library
from transferbench.run import DatasetCache

Write = Callable[..., None]
NONE = [(colour, -1) for colour, _ in right(3)]
"""Images without a label."""


def taken(where: Path, split: str | None = None) -> Dataset:
    return DatasetCache(where.parent, split).take(f"{where}/")


def labels(dataset: Dataset) -> tuple[list[int], list[int]]:
    return dataset.train.labels.tolist(), dataset.test.labels.tolist()


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "set"


# Which split is judged.


@pytest.mark.parametrize("write", [parquet, shard])
def test_a_test_split_without_labels_is_not_judged_but_val_is_and_that_is_said(write: Write, where: Path):
    for split, images in (("train", right(6)), ("val", right(3)), ("test", NONE)):
        write(where, split, images)
    found = judged(where)
    assert (top1(found), found.split, found.notes) == (
        100.0,
        "val",
        ("set: none of the 9 test images has a label, so val is judged.",),
    )
    assert set(found.data_fingerprint) == {"train", "val"}
    assert {score.split for score in found.scores} == {"val"}


def test_a_test_split_is_unlabeled_too_where_it_has_no_column_or_member_of_labels(where: Path):
    parquet(where, "train", right(4))
    parquet(where, "val", right(2))
    parquet(where, "test", NONE, label=None)
    assert taken(where).split == "val"
    for split, images in (("train", right(4)), ("val", right(2))):
        shard(where.with_name("tars"), split, images)
    coloured.members(where.with_name("tars") / "test.tar", {"a.png": coloured.encoded(coloured.picture(0, 1))})
    assert taken(where.with_name("tars")).split == "val"


@pytest.mark.parametrize(
    ("splits", "asked", "message"),
    [
        ({"test": NONE}, None, "None of the 9 images of set/test has a label"),
        ({"val": NONE}, None, "None of the 9 images of set/val has a label"),
        ({"val": NONE, "test": NONE}, None, "None of the 9 images of set/val has a label"),
        ({"val": right(2), "test": NONE}, "test", "None of the 9 images of set/test has a label"),
        ({"test": right(2), "train": NONE}, None, "None of the 9 images of set/train has a label"),
        ({"test": right(2)}, "val", "cannot be judged on a split 'val'. Expected one of: test"),
        ({"test": right(2)}, "train", "cannot be judged on a split 'train'"),
    ],
)
def test_where_nothing_can_be_judged_that_is_said(splits: dict[str, Any], asked: str | None, message: str, where: Path):
    for split, images in ({"train": right(4)} | splits).items():
        parquet(where, split, images)
    with pytest.raises(UserError, match=message):
        taken(where, asked)


def test_a_test_folder_that_is_no_test_is_refused_with_the_way_on(where: Path):
    coloured.folder(where, "train", right(6))
    coloured.folder(where, "val", [*right(2), (0, 1), (1, 2)])
    coloured.folder(where, "test", [(0, 0)] * 3, ["images"])
    with pytest.raises(UserError, match=r"train lacks images; test lacks c0, c1, c2\..*--split val"):
        taken(where)
    assert top1(judged(where, split="val")) == 75.0
    packed = coloured.zipped(where)
    assert top1(judged(packed, split="val")) == 75.0


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_test_folder_without_classes_is_passed_over_and_that_is_said(is_packed: bool, where: Path):
    coloured.folder(where, "train", right(2))
    coloured.folder(where, "val", right(2))
    (where / "test").mkdir()
    said = [DatasetCache(where).take(str(coloured.zipped(where)) if is_packed else f"{where}/").notes]
    (where / "test/0.png").write_bytes(coloured.encoded(coloured.picture(0, 1)))
    said += [DatasetCache(where).take(str(coloured.zipped(where)) if is_packed else f"{where}/").notes]
    assert said == [(), ("set: the images in test/ have no folders of classes: val is judged.",)]


def test_another_split_shares_no_column_with_the_usual_one(where: Path, tmp_path: Path):
    for split, images in (("train", right(6)), ("val", right(2)), ("test", [*right(2), (0, 1), (1, 2)])):
        parquet(where, split, images)
    usual, other = judged(where, out=tmp_path / "out"), judged(where, split="val", out=tmp_path / "out")
    assert (top1(usual), top1(other)) == (75.0, 100.0)
    assert usual.protocol_sha256 == judged(where, split="test", out=tmp_path / "out").protocol_sha256
    assert usual.protocol_sha256 != other.protocol_sha256
    assert len(list((tmp_path / "out/records").glob("*.json"))) == 2
    # The same images under both names: only the split tells the two apart.
    same = {"data_fingerprint": usual.data_fingerprint, "candidate": "another", "digest": "0" * 64}
    same = other.model_copy(update=same).sealed()
    for choice in (tables.Choice(), tables.Choice(merged=True)):
        board = tables.leaderboard([usual, same], choice)
        assert len(board.columns) == 2
        assert [("[val]" in column.label, column.split) for column in board.columns] == [(False, None), (True, "val")]
    assert records.path_of(tmp_path, usual) != records.path_of(tmp_path, same)


def test_a_report_and_a_comparison_open_the_split_that_was_judged(where: Path, tmp_path: Path):
    for split, images in (("train", right(6)), ("val", right(2)), ("test", [*right(2), (0, 1), (1, 2)])):
        parquet(where, split, images)
    usual, other = judged(where), judged(where, split="val")
    library = Library({}, tmp_path, tmp_path / "cache")
    assert [library.dataset(record).test.split for record in (other, usual, other)] == ["val", "test", "val"]
    assert differences(usual, other)[0] == "the judged split the usual -> val"
    assert "--split val --out results" in cure(other, "a.pth", "results")
    assert "--data PATH/set --split val --again" in again(other)
    assert "--split" not in cure(usual, "a.pth", "results") + again(usual)


def test_the_only_judged_split_is_the_usual_one(where: Path):
    for split, images in (("train", right(4)), ("val", right(2))):
        parquet(where, split, images)
    assert taken(where, "val").split is None


def test_records_without_anything_unusual_are_written_as_they_were(where: Path):
    for split, images in (("train", right(4)), ("test", right(2))):
        parquet(where, split, images)
    found = judged(where)
    assert not {"split", "notes", "images"} & set(found.model_dump(mode="json"))
    assert found.is_intact()
    changed = found.model_copy(update={"split": "val"})
    assert Record.model_validate_json(changed.sealed().model_dump_json()).split == "val"
    assert not changed.is_intact()


# Images without a label.


def test_images_without_a_label_are_left_out_and_counted(where: Path):
    half = [(colour, -1 if i % 2 else label) for i, (colour, label) in enumerate(right(6))]
    for name, write in (("tables", parquet), ("tars", shard)):
        write(where / name, "train", half)
        write(where / name, "test", [*right(2), (0, -1), (1, -1)])
        found = judged(where / name)
        assert top1(found) == 100.0
        assert found.notes == (
            f"{name}/train: 9 of the 18 images have no label and are left out.",
            f"{name}/test: 2 of the 8 images have no label and are left out.",
        )
        score = found.score("top1")
        assert score is not None
        assert score.n == 6
    for task in ("logistic", "fewshot"):
        assert top1(judged(where / "tables", task, ())) == 100.0


# The order of classes.


def test_classes_in_another_order_are_mapped_by_name(where: Path):
    parquet(where, "train", right(4), CLASSES)
    parquet(where, "test", relabeled(right(2), {0: 2, 1: 1, 2: 0}), CLASSES[::-1])
    found = taken(where)
    assert labels(found) == ([0] * 4 + [1] * 4 + [2] * 4, [0, 0, 1, 1, 2, 2])
    assert found.test.info.classes == CLASSES
    assert top1(judged(where)) == 100.0
    before = found.test.fingerprint
    parquet(where, "test", relabeled(right(2), {0: 2, 1: 1, 2: 0}), ("c2", "c0", "c1"))
    assert taken(where).test.fingerprint != before


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("c0", "c1", "c2", "c3"), "train lacks c3"),
        (("c1", "c2", "c4"), "train lacks c4; test lacks c0"),
        ((), "train lacks 0, 1, 2; test lacks c0, c1, c2"),
    ],
)
def test_classes_of_other_names_are_refused(names: Sequence[str], message: str, where: Path):
    parquet(where, "train", right(4), CLASSES)
    parquet(where, "test", right(2), names)
    with pytest.raises(UserError, match=f"The splits of set differ in their classes: {message}"):
        taken(where)


def test_names_that_stand_for_two_classes_cannot_be_mapped(tiny_images: Callable[..., LabeledImages]):
    def opened(split: str) -> LabeledImages:
        images, names = tiny_images(8, 3, split=split), ("crane", "crane", "auk")
        return replace(images, info=replace(images.info, classes=names if split == "train" else names[::-1]))

    with pytest.raises(UserError, match="a name stands for several classes"):
        open_dataset(opened)
    assert open_dataset(lambda split: replace(opened("train"), split=split)).train.info.classes[0] == "crane"


def test_files_of_one_split_that_name_their_classes_differently_are_refused(where: Path):
    parquet(where, "train", right(2), CLASSES)
    parquet(where, "test", right(2), CLASSES)
    (where / "train.parquet").rename(where / "train-0.parquet")
    parquet(where, "train", right(2), CLASSES[::-1])
    with pytest.raises(UserError, match="the files of one split name their classes differently"):
        taken(where)


def test_the_columns_of_several_labels_are_not_mapped(tiny_images: Callable[..., LabeledImages]):
    def opened(split: str) -> LabeledImages:
        images = tiny_images(8, 3, split=split)
        names = ("a", "b", "c") if split == "train" else ("c", "b", "a")
        return replace(images, info=replace(images.info, classes=names, carries="several labels"))

    with pytest.raises(UserError, match="differ in their classes"):
        open_dataset(opened)


# Numbers of classes.


@pytest.mark.parametrize("write", [parquet, shard])
@pytest.mark.parametrize(
    ("numbers", "gaps"),
    [
        ((1, 2, 3), "0"),
        ((10, 2000, 31000), "0 to 9, 11 to 1999, 2001 to 30999"),
        ((0, 2**40, 2**62), f"1 to {2**40 - 1}, {2**40 + 1} to {2**62 - 1}"),
    ],
)
def test_numbers_that_never_occur_are_named_and_are_no_classes(write: Write, numbers: Any, gaps: str, where: Path):
    for split, each in (("train", 4), ("test", 2)):
        write(where, split, relabeled(right(each), dict(enumerate(numbers))))
    found = taken(where)
    assert labels(found) == ([0] * 4 + [1] * 4 + [2] * 4, [0, 0, 1, 1, 2, 2])
    assert found.train.info.classes == tuple(map(str, numbers))
    assert found.train.info.chance == pytest.approx(100 / 3)
    assert found.notes == (f"set: numbers that no image has are no classes: {gaps}. 3 classes are left.",)


def test_named_classes_that_never_occur_are_named_and_not_counted_in_chance(where: Path):
    for split, each in (("train", 4), ("test", 2)):
        parquet(where, split, relabeled(right(each), {0: 1, 1: 2, 2: 4}), ["c0", "c1", "c2", "c3", "c4"])
    found = judged(where)
    assert (top1(found), found.chance) == (100.0, pytest.approx(100 / 3))
    assert found.notes == ("set: no image is of 2 of the 5 classes (c0, c3); chance is over the other 3.",)
    board = tables.leaderboard([found])
    assert board.rows[0].kind == "chance"
    assert next(iter(board.rows[0].cells.values())).mean == pytest.approx(100 / 3)


def test_a_class_of_one_split_alone_is_the_same_class_in_both(where: Path):
    parquet(where, "train", relabeled(right(4), {0: 0, 1: 7, 2: 9}))
    parquet(where, "test", [(1, 7), (2, 9), (0, 5)])
    found = taken(where)
    assert found.train.info.classes == found.test.info.classes == ("0", "5", "7", "9")
    assert labels(found) == ([0] * 4 + [2] * 4 + [3] * 4, [2, 3, 1])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([0.0, 1.5, 2.0], r"1 of the 3 labels are no integers; the first, of image 1, is 1\.5"),
        ([0, None, 2], "the first, of image 1, has no value"),
        ([0.0, float("nan"), 2.0], "the first, of image 1, has no value"),
        (["cat", "dog", "cat"], "3 of the 3 labels are no integers; the first, of image 0, is 'cat'"),
        ([[0], [1, 2], []], r"the first, of image 0, is \[0\]"),
        ([[0], [1], [2]], r"the first, of image 0, is \[0\]"),
        ([0, 2**63, 1], f"1 of the 3 labels are no integers; the first, of image 1, is {2**63}"),
        ([0, -2, 1], "1 of the 3 labels are no numbers of classes, first that of image 1: -2"),
    ],
)
def test_a_label_that_is_no_number_of_a_class_is_named(column: list[Any], message: str, where: Path):
    pyarrow = pytest.importorskip("pyarrow")
    kind = pyarrow.uint64() if 2**63 in column else None
    parquet(where, "train", [(0, 0)] * 3, label=pyarrow.array(column, kind))
    parquet(where, "test", right(1))
    with pytest.raises(UserError, match=message):
        taken(where)


def test_labels_beyond_their_names_are_refused(where: Path):
    for split in ("train", "test"):
        parquet(where, split, relabeled(right(2), {0: 1, 1: 2, 2: 3}), CLASSES)
    with pytest.raises(
        UserError, match=r"set/train: 2 of the 6 .* image 4: 3\. Expected 0 to 2 .*c0, c1, c2.* class 0"
    ):
        taken(where)


@pytest.mark.parametrize("values", [[0.0, 1.0, -1.0], np.array([0, 1, 255], np.uint8), [True, False], []])
def test_whole_numbers_of_any_type_are_integers(values: Any):
    found = integers(values, "here")
    assert found.dtype == np.int64
    assert found.tolist() == [int(value) for value in values]


def test_labels_of_a_plugin_are_checked_too():
    with pytest.raises(UserError, match=r"lab/train: 1 of the 2 .* is 0\.5"):
        checked(np.array([0.0, 0.5]), ("a", "b"), "lab/train")
    with pytest.raises(UserError, match="first that of image 1: 2"):
        checked(np.array([-1, 2]), ("a", "b"), "lab/train")


def test_numbering_leaves_labels_that_begin_at_0_alone():
    every = {"train": np.array([2, 0, 1, -1]), "test": np.array([1])}
    found = by_number("set", every, "train")
    assert (found.labels.tolist(), found.classes, found.notes) == ([2, 0, 1, -1], ("0", "1", "2"), ())


# Parts of the training images.


def test_a_part_of_the_labels_says_how_many_images_it_is(where: Path, tmp_path: Path):
    parquet(where, "train", [*right(4), *[(0, 0)] * 5])
    parquet(where, "test", right(2))
    few = judged(where, "fewshot", ("fewshot.shots=6", "fewshot.others=[2]"))
    assert (few.seen("top1"), few.seen("top1@2"), few.seen("top1@6")) == (6 + 4 + 4, 6, 14)
    part = judged(where, "semi-logistic", ("semi-logistic.percent=1",))
    assert (part.seen("top1"), part.label) == (3, "logistic 1 %")
    nearest = judged(where, settings=("knn.k=2", "knn.per_class=5"))
    assert (nearest.seen("top1"), nearest.seen("top1@2")) == (13, 13)
    assert judged(where).seen("top1") is None
    assert "from 3 training images" in tables.line(part)
    heads = [head for _, head in tables.grid(tables.leaderboard([few, part])).heads]
    assert heads == ["6-shot (14 images)", "logistic 1 % (3 images)"]
    dumped = json.loads(part.model_dump_json())
    assert dumped["images"] == {"": 3}


# What labels of the two splits have to do with each other.


@pytest.mark.parametrize("step", [1, -1])
def test_numbers_that_count_from_another_start_are_refused(step: int, where: Path):
    shard(where, "train", relabeled(right(3), {i: i + 1 for i in range(3)}))
    shard(where, "val", relabeled(right(2), {i: i + 1 + step for i in range(3)}))
    with pytest.raises(
        UserError, match=rf"set/val numbers its classes {1 + step} to {3 + step}, and .* 1 to 3: one counts"
    ):
        taken(where)


def test_classes_that_no_training_label_shows_and_a_single_judged_class_are_said(where: Path):
    parquet(where, "train", right(4)[:8], CLASSES)
    parquet(where, "test", right(2), CLASSES)
    assert taken(where).notes == ("set/test: no training label is of 1 of its classes (c2).",)
    parquet(where, "test", [(0, 0), (1, 0)], CLASSES)
    assert "set/test: all labels are of one class (c0), so that it tells little." in taken(where).notes


def test_a_data_set_of_one_class_is_not_judged(where: Path):
    for split in ("train", "val"):
        coloured.folder(where, split, right(2), ["images"] * 3)
    found = judged(where)
    assert found.status == "skipped"
    assert "The images of set are of one class (images)" in (found.error or "")
    assert judged(where, "spectrum", ()).status == "ok"


def test_a_label_that_is_too_small_is_not_said_to_begin_at_1():
    with pytest.raises(UserError, match="class 0 needs a name"):
        checked(np.array([1, 2]), ["a", "b"], "set/train")
    with pytest.raises(UserError, match=r"without a label\.$"):
        checked(np.array([-100, 1]), ["a", "b"], "set/train")
