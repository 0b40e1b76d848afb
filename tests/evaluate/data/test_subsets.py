"""Parts of a training set, and the published lists shipped with the package."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages
from transferbench.data.subsets import SPLITS, limited, named, stratified
from transferbench.errors import UserError

LABELS = np.repeat(np.arange(4), [100, 60, 30, 3])


def gray(index: int) -> Image.Image:
    return Image.new("RGB", (2, 2), (index, index, index))


def images(names: list[str] | None = None) -> LabeledImages:
    labels = LABELS if names is None else np.zeros(len(names), dtype=np.int64)
    info = DatasetInfo("made", ("a", "b", "c", "d"), ("train", "test"), 2, "1")
    return LabeledImages(info, "train", labels, gray, names or [f"{i}.png" for i in range(len(labels))], "mark")


def test_stratified_takes_the_fraction_of_each_class_and_at_least_one() -> None:
    chosen = stratified(LABELS, 0.1, seed=0)
    assert np.bincount(LABELS[chosen]).tolist() == [10, 6, 3, 1]
    assert (np.diff(chosen) > 0).all()


def test_stratified_depends_on_the_seed_alone() -> None:
    assert np.array_equal(stratified(LABELS, 0.1, 1), stratified(LABELS, 0.1, 1))
    assert not np.array_equal(stratified(LABELS, 0.1, 1), stratified(LABELS, 0.1, 2))
    assert set(stratified(LABELS, 0.1, 1)) < set(stratified(LABELS, 0.3, 1))
    assert np.array_equal(stratified(LABELS, 1.0, 1), np.arange(len(LABELS)))


def test_stratified_draws_every_member_of_a_class_equally_often() -> None:
    counts = sum(np.bincount(stratified(LABELS, 0.1, seed), minlength=len(LABELS)) for seed in range(400))
    assert 15 < np.asarray(counts)[:190].min() <= np.asarray(counts)[:190].max() < 70


def test_limited_balances_the_classes_and_keeps_labels_with_images() -> None:
    part = limited(images(), 40, seed=0)
    assert np.bincount(part.labels).tolist() in ([13, 12, 12, 3], [12, 13, 12, 3], [12, 12, 13, 3])
    assert all(LABELS[part.image(i).getpixel((0, 0))[0]] == part.labels[i] for i in range(len(part)))
    assert part.fingerprint not in (images().fingerprint, limited(images(), 40, seed=1).fingerprint)


def test_limited_to_fewer_than_the_classes_or_more_than_there_are() -> None:
    assert len(set(limited(images(), 3, seed=0).labels)) == 3
    assert limited(whole := images(), 500, seed=0) is whole


def test_named_matches_file_names_in_any_folder(tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("n2_1.JPEG\nn1_5.JPEG\n")
    part = named(images(["train/n1/n1_4.JPEG", "train/n1/n1_5.JPEG", "train/n2/n2_1.JPEG"]), listing)
    assert part.names == ["train/n1/n1_5.JPEG", "train/n2/n2_1.JPEG"]


def test_named_says_how_many_are_missing_and_which_first(tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("n1_5.JPEG\nn7_1.JPEG\nn8_1.JPEG\n")
    with pytest.raises(UserError, match=r"2 of the 3 files in list\.txt .*first: n7_1\.JPEG"):
        named(images(["train/n1/n1_5.JPEG"]), listing)


def test_named_refuses_names_that_two_images_bear(tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("0000.jpg\n")
    with pytest.raises(UserError, match="same file name"):
        named(images(["train/cat/0000.jpg", "train/dog/0000.jpg"]), listing)
    assert len(named(images(["a/0000.jpg", "a/1.jpg", "b/1.jpg"]), listing)) == 1


SHA256 = {
    1: "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17",
    10: "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091",
}


@pytest.mark.parametrize(("percent", "lines", "blob"), [(1, 12_811, "a41c9e9f"), (10, 128_116, "1ca337e2")])
def test_the_imagenet_lists_are_simclrs_to_the_byte(percent: int, lines: int, blob: str) -> None:
    content = (SPLITS / f"imagenet_{percent}percent.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256[percent]
    assert hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest().startswith(blob)
    assert len(content.split()) == lines == len(set(content.split()))
