"""Label maps are resized by the law that is named, and crops are the same however often and wherever they are made."""

from dataclasses import replace

import numpy as np
import pytest
from labeled_shapes import shapes
from PIL import Image

from transferbench.data.label_maps import UNCOUNTED, LabelMaps, LabelRule
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError
from transferbench.segmentation.examples import Sizing, fitted, rescaled, resized_labels, truth
from transferbench.segmentation.training_examples import (
    Augmentation,
    StreamPlans,
    TrainingExamples,
    chosen_crop,
    distorted,
)


def literal(old: int, new: int, law: str) -> tuple[np.ndarray, np.ndarray]:
    """Which of `old` pixels each of `new` is, and where that is plain: Pillow rounds exact ties both ways.

    torch's two laws are as its documentation of `interpolate` says; Pillow looks at the middle of the new pixel.
    """
    exact = (np.arange(new) + (0.0 if law == "torch nearest" else 0.5)) * old / new
    return np.floor(exact).astype(int), (law != "pillow nearest") | (abs(exact - np.rint(exact)) > 1e-9)


@pytest.mark.parametrize("law", ["pillow nearest", "torch nearest", "torch nearest-exact"])
@pytest.mark.parametrize("size", [(11, 23), (37, 53), (90, 31), (40, 50)], ids=str)
def test_a_label_map_is_resized_by_the_law_that_is_named(law: str, size: tuple[int, int]):
    labels = np.random.default_rng(0).integers(-1, 300, (40, 50)).astype(np.int16)
    (rows, plain_rows), (columns, plain_columns) = (
        literal(old, new, law) for old, new in zip((40, 50), size, strict=True)
    )
    found = resized_labels(labels, size, law)
    assert np.array_equal(found[plain_rows][:, plain_columns], labels[rows[plain_rows]][:, columns[plain_columns]])
    assert plain_rows.mean() > 0.8
    assert found.dtype == np.int16


def test_the_laws_keep_different_pixels_where_halves_meet():
    labels = np.arange(16, dtype=np.int16).reshape(4, 4)
    assert resized_labels(labels, (2, 2), "torch nearest").tolist() == [[0, 2], [8, 10]]
    assert resized_labels(labels, (2, 2), "torch nearest-exact").tolist() == [[5, 7], [13, 15]]
    large = np.arange(512 * 512).reshape(512, 512) % 30_000
    kept = [resized_labels(large.astype(np.int16), (224, 224), law) for law in ("pillow nearest", "torch nearest")]
    assert (kept[0] != kept[1]).mean() > 0.9


def test_sides_are_whole_patches_or_filled_up():
    assert [fitted(size, Sizing(), 14) for size in (512, 511, 20, 21, 1)] == [518, 518, 14, 28, 14]
    assert fitted(512, Sizing(whole_patches="padded"), 14) == 512
    assert Sizing().size(480, 640, 16, 512) == (512, 688)
    assert Sizing().size(480, 640, 1, 512) == (512, 683)
    assert Sizing().size(640, 480, 1, 512) == (683, 512)
    assert Sizing(resize="square").size(480, 640, 14, 224) == (224, 224)
    with pytest.raises(ValueError, match="resized to"):
        Sizing().size(1, 100_000, 1, 512)


def test_a_label_map_of_another_size_than_its_image_is_refused():
    images = shapes(2, 0)
    wrong = replace(images, label_maps=LabelMaps(lambda i: np.zeros((3, 4), np.uint8), images.names))
    with pytest.raises(UserError, match=r"'shape1' has 4x3 pixels, and the image 48x40. Expected the same size"):
        truth(wrong, 1, 3, LabelRule(), images.image(1))


def examples(**how: object) -> TrainingExamples:
    preprocess = Preprocess(size=None, crop=32, mean=(0, 0, 0), std=(1, 1, 1))
    return TrainingExamples(shapes(7, 0), preprocess, Sizing(), Augmentation(**how), LabelRule(), 32, 32, 8, 5)


def test_images_and_labels_stay_on_each_other():
    """Shapes are far brighter than the ground in red or green, so a pixel's class can be seen."""
    make = examples(distort=False, scale=(1.0, 1.6))
    pixels, labels = make(StreamPlans(7, 14, 0, 1, 5)[0])
    assert pixels.shape == (14, 3, 32, 32)
    for crop, truth_ in zip(pixels.numpy(), labels.numpy(), strict=True):
        inner = np.ones((32, 32), bool)
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            inner &= np.roll(truth_, (down, right), (0, 1)) == truth_
        seen = np.where(crop[0] > 0.55, 1, np.where(crop[1] > 0.55, 2, 0))
        assert (seen == truth_)[inner & (truth_ != UNCOUNTED)].mean() > 0.97


def test_a_crop_depends_on_seed_pass_and_image_alone():
    make, plans = examples(), StreamPlans(7, 4, 0, 6, 5)
    pixels, _ = make(plans[3])
    alone = StreamPlans(7, 4, 3, 6, 5)[0]
    assert np.array_equal(pixels, make(alone)[0])
    assert not np.array_equal(pixels, make(plans[2])[0])
    other = replace(make, seed=6)
    assert not np.array_equal(pixels, other(plans[3])[0])
    shares = [StreamPlans(7, 4, 0, 6, 5, (rank, 2))[3] for rank in range(2)]
    assert np.array_equal(np.stack([make(share)[0] for share in shares], 1).reshape(pixels.shape), pixels)


def test_every_image_comes_once_a_pass_across_batches():
    plans = StreamPlans(7, 4, 0, 7, 5)
    seen = np.concatenate([plan.indices for plan in plans])
    epochs = np.concatenate([plan.epochs for plan in plans])
    for epoch in range(4):
        assert sorted(seen[epochs == epoch]) == list(range(7))
    assert len({tuple(seen[epochs == epoch]) for epoch in range(4)}) > 1


def test_what_is_smaller_than_the_crop_is_filled_up_and_not_counted():
    pixels, labels = examples(scale=(0.5, 0.5))(StreamPlans(7, 7, 0, 1, 5)[0])
    assert (labels[:, 16:] == UNCOUNTED).all()
    assert (pixels[:, :, 16:] == 0).all()
    assert (labels[:, 1:16, :19] != UNCOUNTED).all()


def test_a_crop_that_one_class_fills_is_drawn_anew():
    labels = np.zeros((64, 64), np.int16)
    labels[:16, :16] = 1
    labels[:, 40:] = UNCOUNTED

    def is_mixed(most: float, rng: np.random.Generator) -> bool:
        top, left = chosen_crop(labels, 8, most, rng)
        part = labels[top : top + 8, left : left + 8]
        counts = np.bincount(part[part >= 0], minlength=2)
        return bool(counts.min() > 0.25 * counts.sum())

    often, seldom = (np.mean([is_mixed(most, np.random.default_rng(i)) for i in range(400)]) for most in (0.75, 1.0))
    assert often > 3 * seldom > 0


def test_colors_are_distorted_within_their_ranges():
    image = Image.new("RGB", (4, 4), (100, 120, 140))
    found = [np.asarray(distorted(image, 0.1, np.random.default_rng(i)))[0, 0] for i in range(200)]
    plain = [tuple(each) == (100, 120, 140) for each in found]
    assert 1 / 16 / 3 < np.mean(plain) < 3 / 16  # each of four changes is left out one time in two
    assert len({tuple(each) for each in found}) > 100
    # Without hue the values' order stays.
    grays = [np.asarray(distorted(image, 0.0, np.random.default_rng(i)))[0, 0] for i in range(50)]
    assert all(red <= green <= blue for red, green, blue in grays)


def test_an_image_at_its_size_is_itself():
    image = shapes(1, 0).image(0)
    assert rescaled(image, (40, 48), "bilinear") is image
    assert rescaled(image, (20, 24), "bicubic").size == (24, 20)
