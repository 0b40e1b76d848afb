"""The two splits that a protocol uses: which one is judged, and that their labels mean the same."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from transferbench.data import LOCAL, DatasetInfo, LabeledImages
from transferbench.data.labels import differing, listed
from transferbench.data.subsets import labeled
from transferbench.errors import UserError

JUDGED = ("val", "test")
"""The splits that a result may be reported on."""

Opener = Callable[[str], LabeledImages]
"""Opens the split of that name."""


@dataclass(frozen=True)
class Dataset:
    """The two splits a protocol uses."""

    train: LabeledImages
    test: LabeledImages

    @property
    def split(self) -> str | None:
        """The split that is judged where it is not the data set's own, else None."""
        return None if self.test.split == self.train.info.test_split else self.test.split

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its numbers has to know."""
        return tuple(dict.fromkeys((*self.train.notes, *self.test.notes)))


def open_dataset(opened: Opener, split: str | None = None) -> Dataset:
    """The training images and those of the split that is judged, all with a label where images carry one.

    Args:
        opened: opens a split.
        split: the judged split, `val` or `test`; None takes the data set's own, or `val` where its `test` is
            unlabeled.

    Raises:
        UserError: when a split cannot be opened, has no labels, has other classes than the training images, or shares
            annotated files with them.
    """
    train = opened("train")
    test = open_test(opened, train.info, split)
    if train.info.carries in ("boxes", "label maps"):
        return _apart(train, test)
    return _with_unseen(_known(train), test) if train.info.carries == "one label" else Dataset(train, test)


def open_test(opened: Opener, info: DatasetInfo, split: str | None = None) -> LabeledImages:
    """The labeled images that are judged, numbered by the classes of `info`.

    Raises:
        UserError: as `open_dataset`.
    """
    own = info.test_split
    if split is not None and (split not in JUDGED or split not in info.splits):
        judged = ", ".join(name for name in JUDGED if name in info.splits)
        raise UserError(f"{info.name} cannot be judged on a split '{split}'. Expected one of: {judged or 'none'}.")
    test = opened(split or own)
    if info.carries == "several labels" and info.classes != test.info.classes:
        raise differing(info.name, {"train": info.classes, test.split: test.info.classes})
    if info.carries != "one label":
        return test
    if split is None and own == "test" and "val" in info.splits and not (test.labels >= 0).any():
        note = f"{info.name}: none of the {len(test)} test images has a label, so val is judged."
        test = _noted(opened("val"), note)
    cure = " Judge on the validation images with --split val." if test.split == "test" and "val" in info.splits else ""
    return _known(numbered_as(info, test, cure))


def _apart(train: LabeledImages, test: LabeledImages) -> Dataset:
    """Annotated images to train and to judge on, which must not be the same files."""
    is_of_files = test.info.revision.startswith(LOCAL)  # drawn scenes have numbers for names
    if is_of_files and (common := sorted(set(train.names) & set(test.names))):
        raise UserError(
            f"{len(common)} of the {len(test)} {test.split} images of {test.info.name} are training images too (first: "
            f"{common[0]}). Expected others to judge on: take them out of one list."
        )
    if train.info.carries == "label maps":
        return Dataset(train, _noted(test, *_copied(train, test)))
    taught, judged = (images.boxes.packed.labels[~images.boxes.packed.crowd] for images in (train, test))
    notes = _untaught(train.info.classes, taught, judged, f"{test.info.name}/{test.split}")
    return Dataset(train, _noted(test, *notes))


def _copied(train: LabeledImages, test: LabeledImages) -> list[str]:
    """What is said where judged images and their maps have the sizes and checksums of training ones."""
    if train.marks is None or test.marks is None or not (copies := int(np.isin(test.marks, train.marks).sum())):
        return []
    return [f"{test.info.name}/{test.split}: {copies} of {len(test)} images look like copies of training images."]


def _untaught(
    classes: Sequence[str], taught: Int64[np.ndarray, "n"], judged: Int64[np.ndarray, "m"], place: str
) -> list[str]:
    """What is said where classes are judged that no training label shows, or one class alone is."""
    numbers = np.unique(judged)
    strange = [classes[int(i)] for i in np.setdiff1d(numbers, taught)]
    notes = [f"{place}: no training label is of {len(strange)} of its classes ({listed(strange)})."] if strange else []
    if len(numbers) == 1 < len(np.unique(taught)):
        notes.append(f"{place}: all labels are of one class ({classes[int(numbers[0])]}), so that it tells little.")
    return notes


def _noted(images: LabeledImages, *notes: str) -> LabeledImages:
    return replace(images, notes=(*images.notes, *notes))


def _known(images: LabeledImages) -> LabeledImages:
    """The images with a label, and how many there are without."""
    known, place = labeled(images), f"{images.info.name}/{images.split}"
    if not len(known):
        raise UserError(
            f"None of the {len(images)} images of {place} has a label. Expected some, to train or to judge on."
        )
    left_out = len(images) - len(known)
    note = f"{place}: {left_out} of the {len(images)} images have no label and are left out."
    return _noted(known, note) if left_out else known


def numbered_as(info: DatasetInfo, images: LabeledImages, cure: str = "") -> LabeledImages:
    """The images with their labels in the order of the classes of `info`, mapped by name; `cure` ends the error.

    Raises:
        UserError: when they have other classes.
    """
    ours, theirs = info.classes, images.info.classes
    if ours == theirs or not (images.labels >= 0).any():
        return images
    if sorted(ours) != sorted(theirs) or len(set(ours)) < len(ours):
        raise differing(info.name, {"train": ours, images.split: theirs}, cure)
    number = np.array([ours.index(name) for name in theirs], np.int64)
    labels = np.where(images.labels < 0, images.labels, number[images.labels])
    mark = hashlib.sha256(f"{images.fingerprint} classes in the order of train ".encode() + labels.tobytes())
    return replace(images, info=replace(images.info, classes=ours), labels=labels, fingerprint=mark.hexdigest())


def _with_unseen(train: LabeledImages, test: LabeledImages) -> Dataset:
    """Both splits with the number of classes that no image of them shows, and which those are."""
    classes = train.info.classes
    test = _noted(test, *_untaught(classes, train.labels, test.labels, f"{test.info.name}/{test.split}"))
    shown = np.isin(np.arange(len(classes)), np.concatenate([train.labels, test.labels]))
    if shown.all():
        return Dataset(train, test)
    unseen = [name for name, is_shown in zip(classes, shown, strict=True) if not is_shown]
    note = f"{train.info.name}: no image is of {len(unseen)} of the {len(classes)} classes ({listed(unseen)})"
    train = _noted(train, f"{note}; chance is over the other {int(shown.sum())}.")
    return Dataset(*(replace(each, info=replace(each.info, unseen=len(unseen))) for each in (train, test)))
