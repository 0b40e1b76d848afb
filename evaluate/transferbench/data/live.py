"""Data handed over from Python: a `Dataset` of one's own, or images and labels, known by their pixels."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int8

from transferbench.data import LOCAL, SOURCES, DatasetInfo, LabeledImages
from transferbench.data.labels import by_number, checked, integers
from transferbench.data.live_contents import PAIRS, LiveContents, contents, source_of
from transferbench.errors import UserError

ROUNDED = 0.01
"""Of 255 levels, that rounding may move a value by before it is said: what `ToTensor` made of 8 bits moves by less."""


@dataclass(frozen=True, eq=False)
class LabeledSplits:
    """A data set that somebody handed over: its name, and its splits by theirs (`train`, `val`, `test`)."""

    name: str
    splits: Mapping[str, LabeledImages] = field(repr=False)

    def open_split(self, split: str) -> LabeledImages:
        """The split of that name.

        Raises:
            UserError: when it was not handed over.
        """
        if split not in self.splits:
            wanted = {"train": "images to train on: train=", "val": "images to judge on: test= or val="}
            raise UserError(
                f"{self.name} has no {split} images, only {', '.join(self.splits)}. Expected "
                f"{wanted.get(split, f'{split}=')} of transferbench.data_of."
            )
        return self.splits[split]


def data_of(
    train: Any = None, test: Any = None, val: Any = None, *, name: str, classes: Sequence[str] | None = None
) -> LabeledSplits:
    """Images and labels of one's own as a data set to evaluate on.

    Every image is read once, for the fingerprint is of pixels and labels: the same images are the same data, whatever
    they were handed over as. They are read again when they are needed, and have to be the same then.

    Args:
        train, test, val: each a map-style data set of pairs (image, label), such as a torch `Dataset`, or a tuple
            (images, labels). An image is one of PIL's, a tensor `c h w` or an array `h w c`, uint8 or float from 0 to
            1; a label the number of a class from 0, -1 for none, or for several labels a 1 (there), 0 (not there) or
            -1 (hard to tell) for each class.
        name: what tables call it; letters, digits, `-` and `_`, and no data set of this package.
        classes: the names of the classes by number; by default those of an attribute `classes`, else the numbers.

    Raises:
        UserError: for what is none of that, with the first item that is not, or where labels number no class.
    """
    require_name(name)
    given = {split: each for split, each in (("train", train), ("val", val), ("test", test)) if each is not None}
    if not given:
        raise UserError(f"{name} has no images. Expected train= and test=, each {PAIRS}.")
    found = {split: contents(source_of(each, f"{name}/{split}"), f"{name}/{split}") for split, each in given.items()}
    several = {split: isinstance(each.labels[0], list) for split, each in found.items()}
    if len(set(several.values())) > 1:
        told = ", ".join(f"{split} {'several' if each else 'one'}" for split, each in several.items())
        raise UserError(f"The splits of {name} differ in how many labels an image has: {told}.")
    label = _with_targets if all(several.values()) else _with_labels
    splits = label(name, found, _named(classes))
    return LabeledSplits(name, noted(splits, found))


def handed_over(data: Sequence[Any]) -> tuple[list[str], dict[str, LabeledSplits]]:
    """The names of data sets, or their paths, and those among them that were handed over.

    Raises:
        UserError: for what is neither a name nor a path nor from `data_of`, or when a name stands for two.
    """
    names: list[str] = []
    live: dict[str, LabeledSplits] = {}
    for each in data:
        if isinstance(each, LabeledSplits):
            live[each.name] = each
        elif not isinstance(each, str | Path):
            raise UserError(
                f"data is a {type(each).__name__}. Expected a data set's name or path; images of your own are handed "
                "over by transferbench.data_of(train=..., test=..., name=...)."
            )
        path = f"{each}" if "/" in f"{each}" or not isinstance(each, Path) else f"./{each}"
        names.append(each.name if isinstance(each, LabeledSplits) else path)
    twice = [
        name
        for name, each in live.items()
        if any(n == name and d is not each for n, d in zip(names, data, strict=True))
    ]
    if twice:
        raise UserError(f"{twice[0]} is the name of two data sets here. Expected another name for each.")
    return names, live


def _with_labels(
    name: str, found: Mapping[str, LiveContents], classes: tuple[str, ...] | None
) -> dict[str, LabeledImages]:
    """The splits, with one label an image."""
    labels = {split: integers(each.labels, each.where) for split, each in found.items()}
    stated = next((each.classes for each in found.values() if each.classes), None)
    splits: dict[str, LabeledImages] = {}
    for split, each in found.items():
        own = classes or each.classes or stated
        if own is None:
            numbered = by_number(name, labels, split)
            info = DatasetInfo(name, numbered.classes, tuple(found), None, LOCAL)
            splits[split] = replace(
                each.images(info, checked(numbered.labels, info.classes, each.where)), notes=numbered.notes
            )
            continue
        info = DatasetInfo(name, own, tuple(found), None, LOCAL)
        splits[split] = each.images(info, checked(labels[split], own, each.where))
    return splits


def _with_targets(
    name: str, found: Mapping[str, LiveContents], classes: tuple[str, ...] | None
) -> dict[str, LabeledImages]:
    """The splits, with a verdict on every class for each image."""
    targets = {split: _verdicts(each) for split, each in found.items()}
    counts = {split: each.shape[1] for split, each in targets.items()}
    stated = classes or next((each.classes for each in found.values() if each.classes), None)
    width = next(iter(counts.values()))
    own = stated or tuple(map(str, range(width)))
    if set(counts.values()) != {len(own)}:
        told = ", ".join(f"{count} labels in {split}" for split, count in counts.items())
        raise UserError(f"{name} has {told}, and {len(own)} classes. Expected a label for each class.")
    info = DatasetInfo(name, own, tuple(found), None, LOCAL, "map11", "several labels")
    splits: dict[str, LabeledImages] = {}
    for split, each in found.items():
        there = targets[split] == 1
        labels = np.where(there.any(1), there.argmax(1), -1)
        note = f"{each.where}: every image has one label alone, and is judged as one of several could be."
        is_one_hot = bool((there.sum(1) == 1).all() and (targets[split] >= 0).all())
        splits[split] = replace(each.images(info, labels, targets[split]), notes=(note,) * is_one_hot)
    return splits


def _verdicts(found: LiveContents) -> Int8[np.ndarray, "n c"]:
    lengths = sorted({len(label) for label in found.labels})
    if len(lengths) > 1 or not lengths[0]:
        raise UserError(f"{found.where} has images of {lengths[0]} and of {lengths[-1]} labels. Expected one a class.")
    try:
        values = np.asarray(found.labels, np.float64)
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    bad = np.flatnonzero(~np.isin(values, (-1, 0, 1)).all(1)) if values.ndim == 2 else np.zeros(1, np.int64)
    if values.ndim != 2 or not len(values) or len(bad):
        first = int(bad[0]) if len(bad) else 0
        raise UserError(
            f"Label {first} of {found.where} is {str(found.labels[first])[:60]}. Expected the number of a class, or "
            "for every class 1 (there), 0 (not there) or -1 (hard to tell)."
        )
    return values.astype(np.int8)


def noted(splits: Mapping[str, LabeledImages], found: Mapping[str, LiveContents]) -> dict[str, LabeledImages]:
    """The splits with what a reader of their numbers has to know of the images."""
    taught = {row.tobytes() for row in found["train"].marks} if "train" in found else set()
    told: dict[str, LabeledImages] = {}
    for split, images in splits.items():
        each, notes = found[split], list(images.notes)
        if each.moved > ROUNDED:
            notes.append(f"{each.where}: floats were rounded to 8 bits, by up to {each.moved:.2f} of 255 levels.")
        again = sum(row.tobytes() in taught for row in each.marks) if split != "train" else 0
        if again:
            notes.append(f"{each.where}: {again} of the {len(images)} images are training images too, pixel for pixel.")
        told[split] = replace(images, notes=tuple(notes))
    return told


def _named(classes: Sequence[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if isinstance(classes, str) or not classes or not all(isinstance(each, str) for each in classes):
        raise UserError(f"classes is {classes!r}. Expected the classes' names by number: ['cat', 'dog'].")
    twice = [each for each in dict.fromkeys(classes) if list(classes).count(each) > 1]
    if twice:
        raise UserError(f"classes names {twice[0]!r} more than once. Expected a name for each class.")
    return tuple(classes)


def require_name(name: str) -> None:
    """Refuse, by a UserError, what cannot be the name of data that are handed over."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"'{name}' cannot be a data set's name. Expected letters, digits, - and _.")
    if name.replace("-", "_") in SOURCES.names():
        raise UserError(
            f"'{name}' is a data set of this package, and results on other images must not be taken for its. Choose "
            f"another name, such as my-{name}."
        )
