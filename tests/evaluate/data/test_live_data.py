"""Data handed over from Python: known by its pixels, whatever it came as; what is none is refused by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

from transferbench.data.dataset import open_dataset
from transferbench.data.live import LabeledSplits, data_of, handed_over
from transferbench.errors import UserError

N = 24
IMAGES = torch.randint(0, 256, (N, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.arange(N) % 4
OTHERS = 255 - IMAGES


class Pairs(Dataset[Any]):
    """Item i is what a function gives."""

    def __init__(self, item: Callable[[int], Any], n: int = N) -> None:
        self.item, self.n = item, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


def array(i: int) -> np.ndarray:
    return IMAGES[i].permute(1, 2, 0).numpy()


SAME = {
    "tensors": (IMAGES, LABELS),
    "floats": (IMAGES / 255, LABELS),
    "arrays": (IMAGES.permute(0, 2, 3, 1).numpy(), LABELS.tolist()),
    "float arrays, labels as floats": (IMAGES.permute(0, 2, 3, 1).numpy() / 255, LABELS.double()),
    "a data set of PIL images": Pairs(lambda i: (Image.fromarray(array(i)), i % 4)),
    "a data set of arrays, labels in vectors of one": Pairs(lambda i: (array(i), np.array([i % 4]))),
    "a tensor data set": TensorDataset(IMAGES, LABELS),
    "a list": [(IMAGES[i], np.int32(i % 4)) for i in range(N)],
}


@pytest.mark.parametrize("given", SAME.values(), ids=SAME)
def test_the_same_pixels_and_labels_are_the_same_data_whatever_they_came_as(given: Any):
    (images,) = data_of(test=given, name="mine").splits.values()
    plain = data_of(test=(IMAGES, LABELS), name="other").open_split("test")
    assert images.fingerprint == plain.fingerprint
    assert images.labels.tolist() == LABELS.tolist()
    assert (images.info.classes, images.info.image_size, images.notes) == (tuple("0123"), 8, ())
    np.testing.assert_array_equal(images.pixels(5), array(5))
    np.testing.assert_array_equal(np.asarray(images.subset(np.array([7]), "").image(0)), array(7))


def test_another_pixel_label_or_order_is_other_data():
    changed, relabeled = IMAGES.clone(), LABELS.clone()
    changed[3, 0, 0, 0] ^= 1
    relabeled[3] = 0
    variants = [(IMAGES, LABELS), (changed, LABELS), (IMAGES, relabeled), (IMAGES.flip(0), LABELS.flip(0))]
    marks = {data_of(test=each, name="mine").open_split("test").fingerprint for each in variants}
    assert len(marks) == 4


def test_gray_is_color_of_one_value_and_more_bits_wait_for_a_range():
    gray = IMAGES[:, :1]
    marks = {
        data_of(test=(each, LABELS), name="mine").open_split("test").fingerprint
        for each in (gray, gray[:, 0], gray.repeat(1, 3, 1, 1), gray.permute(0, 2, 3, 1).numpy())
    }
    assert len(marks) == 1
    deep = Pairs(lambda i: (Image.fromarray(array(i)[:, :, 0].astype(np.uint16) * 257), i % 4))
    images = data_of(test=deep, name="mine").open_split("test")
    with pytest.raises(UserError, match="more than 8 bits a channel"):
        images.pixels(0)
    np.testing.assert_array_equal(images.ranged((0, 65535)).pixels(2)[:, :, 0], array(2)[:, :, 0])


def test_floats_between_the_levels_are_rounded_and_it_is_said():
    images = data_of(test=((IMAGES / 255 * 0.999).clamp(0, 1), LABELS), name="mine").open_split("test")
    assert "floats were rounded to 8 bits, by up to 0.2" in images.notes[0]


WRONG = {
    "normalized": ((IMAGES / 255 - 0.5, LABELS), r"Image 0 of mine/train has values from -0\.5 .*normalization"),
    "floats to 255": ((IMAGES.float(), LABELS), "Values to 255 are handed over as uint8"),
    "not finite": ((IMAGES / 255 / 0 * 0, LABELS), "not finite"),
    "divided twice": ((IMAGES / 255 / 255, LABELS), "black.*divided by 255 twice"),
    "cast": (((IMAGES / 255).to(torch.uint8), LABELS), "black.*cast to uint8"),
    "integers": ((IMAGES.long(), LABELS), "holds int64"),
    "four channels": ((IMAGES[:, [0, 1, 2, 0]], LABELS), "4 channels.*Keep the three of color"),
    "channels last": ((IMAGES.permute(0, 2, 3, 1), LABELS), r"permute\(2, 0, 1\)"),
    "channels first": ((IMAGES.numpy(), LABELS), r"transpose\(1, 2, 0\)"),
    "no image": (Pairs(lambda i: (None, 0)), "Image 0 of mine/train is a NoneType"),
    "half labels": ((IMAGES, LABELS + 0.5), "24 of the 24 labels are no integers.*is 0.5"),
    "names for labels": ((IMAGES, ["cat"] * N), "is 'cat'"),
    "soft labels": ((IMAGES, torch.full((N, 4), 0.25)), "Label 0 of mine/train is .0.25"),
    "ragged labels": (Pairs(lambda i: (IMAGES[i], [1] * (2 + i % 2))), "of 2 and of 3 labels"),
    "one and several": (Pairs(lambda i: (IMAGES[i], [0, 1] if i else 0)), r"Label 1 of mine/train is \[0, 1\]"),
    "fewer labels": ((IMAGES, LABELS[:5]), "Tensor of 24, Tensor of 5"),
    "empty": (Pairs(lambda i: 0, 0), "mine/train has no images"),
    "a dict": (Pairs(lambda i: {"image": IMAGES[i], "label": 0}), "Item 0 of mine/train is a dict with image, label"),
    "three": (TensorDataset(IMAGES, LABELS, LABELS), "a tuple of 3"),
    "a list of both": ([IMAGES, LABELS], "Item 0 of mine/train is a Tensor"),
    "raises": (Pairs(lambda i: (IMAGES[i], 1 // (7 - i))), "Item 7 of mine/train cannot be read: ZeroDivisionError"),
    "too long": (Pairs(lambda i: (IMAGES[i], 0), 30), "Item 24 of mine/train cannot be read: IndexError"),
    "a loader": (DataLoader(TensorDataset(IMAGES, LABELS)), "Hand over its data set"),
    "a path": ("imgs/", "mine/train is a str"),
    "images alone": (IMAGES, "mine/train is a Tensor. Expected a map-style data set"),
    "an iterator": (iter([1]), "mine/train is a list_iterator"),
}


@pytest.mark.parametrize(("given", "told"), WRONG.values(), ids=WRONG)
def test_what_is_no_labeled_image_is_refused_with_what_it_is(given: Any, told: str):
    with pytest.raises(UserError, match=told):
        data_of(given, name="mine")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "cifar10"}, "a data set of this package"),
        ({"name": "my/data"}, "cannot be a data set's name"),
        ({"classes": ["a", "b"]}, "12 of the 24 labels are no numbers of classes"),
        ({"classes": ["a", "a", "b", "c"]}, "names 'a' more than once"),
        ({"classes": "abcd"}, "Expected the classes' names"),
        ({"test": (OTHERS, torch.eye(4)[LABELS])}, "train one, test several"),
        ({"train": (IMAGES, LABELS + 1)}, "one counts from 1"),
    ],
    ids=str,
)
def test_names_that_do_not_fit_are_refused(changed: dict[str, Any], told: str):
    with pytest.raises(UserError, match=told):
        data_of(**({"train": (IMAGES, LABELS), "test": (OTHERS, LABELS), "name": "mine"} | changed))
    with pytest.raises(UserError, match="mine has no images"):
        data_of(name="mine")


def test_images_that_change_are_refused_when_they_are_handed_over_or_read_again():
    noise = torch.Generator().manual_seed(0)
    with pytest.raises(UserError, match="leave out random transforms"):
        data_of(test=Pairs(lambda i: (torch.rand(3, 8, 8, generator=noise), 0)), name="mine")
    own = IMAGES.clone()
    images = data_of(test=(own, LABELS), name="mine").open_split("test")
    own[9] = 0
    images.pixels(8)
    with pytest.raises(UserError, match="Image 9 of mine/test has other pixels"):
        images.pixels(9)


def test_splits_of_one_set_keep_its_names_and_images_in_two_splits_are_said():
    named = TensorDataset(IMAGES, LABELS)
    named.classes = ["ant", "bee", "cat", "dog"]  # pyright: ignore[reportAttributeAccessIssue]
    parts = random_split(named, [16, 8], torch.Generator().manual_seed(0))
    data = data_of(*parts, name="mine")
    assert data.open_split("test").info.classes == ("ant", "bee", "cat", "dog")
    assert data.open_split("train").labels.tolist() == LABELS[list(parts[0].indices)].tolist()
    assert not data.open_split("test").notes
    again = data_of((IMAGES, LABELS), (IMAGES[:6], LABELS[:6]), name="mine").open_split("test")
    assert again.notes == ("mine/test: 6 of the 6 images are training images too, pixel for pixel.",)


def test_a_split_that_was_not_handed_over_is_asked_for_by_its_argument():
    alone = data_of((IMAGES, LABELS), name="mine")
    with pytest.raises(UserError, match="Expected images to judge on: test= or val="):
        open_dataset(alone.open_split)
    with pytest.raises(UserError, match="Expected images to train on: train="):
        open_dataset(data_of(test=(IMAGES, LABELS), name="mine").open_split)
    judged = open_dataset(data_of((IMAGES, LABELS), val=(OTHERS, LABELS), name="mine").open_split)
    assert judged.test.split == "val"


def test_several_labels_are_verdicts_on_every_class():
    verdicts = torch.tensor([[1, 0, -1], [0, 1, 1], [0, 0, 0]]).repeat(8, 1)
    images = data_of(test=(IMAGES, verdicts.float()), name="mine", classes=["a", "b", "c"]).open_split("test")
    assert (images.info.carries, images.info.metric, images.info.classes) == ("several labels", "map11", tuple("abc"))
    np.testing.assert_array_equal(images.targets, verdicts)
    assert images.labels[:3].tolist() == [0, 1, -1]
    (note,) = data_of(test=(IMAGES, torch.eye(4)[LABELS]), name="mine").open_split("test").notes
    assert "every image has one label alone" in note
    with pytest.raises(UserError, match="4 labels in test, and 3 classes"):
        data_of(test=(IMAGES, torch.eye(4)[LABELS]), name="mine", classes=["a", "b", "c"])


def test_names_and_data_stand_beside_each_other_and_nothing_else_does(tmp_path):
    mine, twin = (data_of(test=(IMAGES, LABELS), name="mine") for _ in range(2))
    assert handed_over(["digits", mine, tmp_path, mine]) == (
        ["digits", "mine", f"{tmp_path}", "mine"],
        {"mine": mine},
    )
    assert isinstance(mine, LabeledSplits)
    assert repr(mine) == "LabeledSplits(name='mine')"
    for wrong in ([mine, twin], ["mine", mine]):
        with pytest.raises(UserError, match="mine is the name of two data sets"):
            handed_over(wrong)
    with pytest.raises(UserError, match=r"data is a TensorDataset.*data_of"):
        handed_over([TensorDataset(IMAGES, LABELS)])
