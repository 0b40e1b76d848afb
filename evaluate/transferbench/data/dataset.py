"""The two splits that a protocol uses: which one is judged, and that their labels mean the same."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from transferbench.data import DatasetInfo, LabelledImages
from transferbench.data.labels import differing, listed
from transferbench.data.subsets import labelled
from transferbench.errors import UserError

JUDGED = ("val", "test")
"""The splits that a result may be reported on."""

Opener = Callable[[str], LabelledImages]
"""Opens the split of that name."""


@dataclass(frozen=True)
class Dataset:
    """The two splits a protocol uses; `notes` say what a reader of its numbers has to know."""

    train: LabelledImages
    test: LabelledImages
    notes: tuple[str, ...] = ()

    @property
    def split(self) -> str | None:
        """The split that is judged where it is not the data set's own, else None."""
        return None if self.test.split == self.train.info.test_split else self.test.split


def open_dataset(opened: Opener, split: str | None = None) -> Dataset:
    """The training images and those of the split that is judged, all with a label where images carry one.

    Args:
        opened: opens a split.
        split: the judged split, `val` or `test`; None takes the data set's own, or `val` where its `test` is
            unlabelled.

    Raises:
        UserError: when a split cannot be opened, has no labels, or has other classes than the training images.
    """
    train = opened("train")
    test, notes = open_test(opened, train.info, split)
    if train.info.carries != "one label":
        return Dataset(train, test, (*train.info.notes, *notes))
    known, told = _known(train)
    info, unseen = _seen(train.info, known.labels, test.labels)
    test = replace(test, info=replace(test.info, unseen=info.unseen))
    return Dataset(replace(known, info=info), test, (*info.notes, *notes, *told, *unseen))


def open_test(opened: Opener, info: DatasetInfo, split: str | None = None) -> tuple[LabelledImages, tuple[str, ...]]:
    """The labelled images that are judged, numbered by the classes of `info`, and what has to be said of them.

    Raises:
        UserError: as `open_dataset`.
    """
    own = info.test_split
    if split is not None and (split not in JUDGED or split not in info.splits):
        judged = ", ".join(name for name in JUDGED if name in info.splits)
        raise UserError(f"{info.name} cannot be judged on a split '{split}'. Expected one of: {judged or 'none'}.")
    test, notes = opened(split or own), ()
    if info.carries == "several labels" and info.classes != test.info.classes:
        raise differing(info.name, {"train": info.classes, test.split: test.info.classes})
    if info.carries != "one label":
        return test, notes
    if split is None and own == "test" and "val" in info.splits and not (test.labels >= 0).any():
        notes = (f"{info.name}: none of the {len(test)} test images has a label, so val is judged.",)
        test = opened("val")
    cure = " Judge on the validation images with --split val." if test.split == "test" and "val" in info.splits else ""
    known, told = _known(_numbered_as(info, test, cure))
    return known, (*notes, *told)


def _known(images: LabelledImages) -> tuple[LabelledImages, tuple[str, ...]]:
    """The images with a label, and how many there are without."""
    known, place = labelled(images), f"{images.info.name}/{images.split}"
    if not len(known):
        raise UserError(
            f"None of the {len(images)} images of {place} has a label. Expected some, to train or to judge on."
        )
    left_out = len(images) - len(known)
    return known, (f"{place}: {left_out} of the {len(images)} images have no label and are left out.",) * bool(left_out)


def _numbered_as(info: DatasetInfo, images: LabelledImages, cure: str) -> LabelledImages:
    """The images with their labels in the order of the classes of `info`, mapped by name."""
    ours, theirs = info.classes, images.info.classes
    if ours == theirs or not (images.labels >= 0).any():
        return images
    if sorted(ours) != sorted(theirs) or len(set(ours)) < len(ours):
        raise differing(info.name, {"train": ours, images.split: theirs}, cure)
    number = np.array([ours.index(name) for name in theirs], np.int64)
    labels = np.where(images.labels < 0, images.labels, number[images.labels])
    mark = hashlib.sha256(f"{images.fingerprint} classes in the order of train ".encode() + labels.tobytes())
    return replace(images, info=replace(images.info, classes=ours), labels=labels, fingerprint=mark.hexdigest())


def _seen(
    info: DatasetInfo, train: Int64[np.ndarray, "n"], test: Int64[np.ndarray, "m"]
) -> tuple[DatasetInfo, tuple[str, ...]]:
    """What is known of the data set with the classes that no image shows, and those in words."""
    shown = np.isin(np.arange(len(info.classes)), np.concatenate([train, test]))
    if shown.all():
        return info, ()
    unseen = [name for name, is_shown in zip(info.classes, shown, strict=True) if not is_shown]
    note = f"{info.name}: no image is of {len(unseen)} of the {len(shown)} classes ({listed(unseen)}); chance is over "
    return replace(info, unseen=len(unseen)), (f"{note}the other {int(shown.sum())}.",)
