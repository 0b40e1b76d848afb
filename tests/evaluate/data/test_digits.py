"""The embedded data set: the same bytes everywhere, honest splits."""

import hashlib
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, load_sample_image

from transferbench.data.sources import _sklearn_files, digits


def test_the_bytes_are_pinned() -> None:
    found = {split: hashlib.sha256(digits.rendered(split).pixels.tobytes()).hexdigest() for split in ("train", "test")}
    assert found == {
        "train": "0f3bb65be03f88d8c23cf2ce23b2fcb8133fab1050fd0f7bb10c1cd704524eed",
        "test": "a9e644c4980e31f0872f345c14f0086223aa4971ef67c268546a753d141fdca6",
    }


def test_no_digit_is_in_both_splits_and_all_are_used() -> None:
    train, test = (set(digits.rendered(split).instances.tolist()) for split in ("train", "test"))
    assert not train & test
    assert len(train) == 1297
    assert len(test) == 500
    assert (np.bincount(digits.rendered("test").labels) == 100).all()


def test_labels_are_those_of_the_instances() -> None:
    for split in ("train", "test"):
        data = digits.rendered(split)
        assert np.array_equal(data.labels, load_digits(return_X_y=True)[1][data.instances])


def test_a_solid_block_covers_its_stated_size_and_an_empty_one_nothing() -> None:
    solid = np.full((50, 8, 8), 16, dtype=np.int32)
    cover = digits._strokes(solid, np.random.Philox(key=1))
    assert (cover.max((1, 2)) == 256).all()
    area = (cover > 128).mean((1, 2)) * digits.SIDE**2
    assert (area > 10**2).all()
    assert (area < (digits.SIZES[1] + 2) ** 2).all()
    assert not digits._strokes(solid * 0, np.random.Philox(key=1)).any()


def test_bilinear_equals_a_literal_version() -> None:
    cells = np.random.default_rng(0).integers(0, 17, (2, 8, 8), dtype=np.int32)
    places = np.random.default_rng(1).integers(-(2 << 16), 10 << 16, (2, 2, 32, 32), dtype=np.int32)

    def at(image: int, row: int, column: int) -> float:
        return float(cells[image, row, column]) if 0 <= row < 8 and 0 <= column < 8 else 0.0

    found = digits._bilinear(cells, places[0], places[1])
    for image, r, c in np.ndindex(2, 32, 32):
        y, x = places[:, image, r, c] / 65536
        i, j = int(np.floor(y)), int(np.floor(x))
        rows, columns = ((i, 1 - (y - i)), (i + 1, y - i)), ((j, 1 - (x - j)), (j + 1, x - j))
        exact = sum(at(image, a, b) * p * q for a, p in rows for b, q in columns)
        assert abs(found[image, r, c] / 256 - exact) < 0.15


def test_both_polarities_occur_in_every_class() -> None:
    data = digits.rendered("train")
    middle, rim = data.pixels[:, 8:24, 8:24].max((1, 2, 3)), data.pixels.mean((1, 2, 3))
    bright = middle - rim > 60
    for label in range(10):
        assert 0.3 < bright[data.labels == label].mean() < 0.9


def test_the_files_are_read_as_scikit_learn_reads_them() -> None:
    images, labels = _sklearn_files.digits()
    theirs: Any = load_digits()
    assert np.array_equal(images, theirs.images)
    assert np.array_equal(labels, theirs.target)
    for name in ("china.jpg", "flower.jpg"):
        assert np.array_equal(np.asarray(_sklearn_files.photo(name)), load_sample_image(name))
