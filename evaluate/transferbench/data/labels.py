"""What every data set's labels must be: integers, -1 for an image without a label, else the number of a class."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from transferbench.errors import UserError

SHOWN = 5
"""How many classes or gaps a message names."""


def integers(values: Any, what: str) -> Int64[np.ndarray, "n"]:
    """Labels as they are stored, as integers.

    Raises:
        UserError: naming the first that is missing, no number, no integer or too large; `what` says where they stand.
    """
    try:
        array = np.asarray(values)
    except ValueError:  # lists of several lengths
        array = np.empty((0, 0))
    if array.ndim == 1 and np.can_cast(array.dtype, np.int64):
        return array.astype(np.int64)
    stored = values.tolist() if isinstance(values, np.ndarray) else list(values)
    bad = [i for i, value in enumerate(stored) if not _is_integer(value)]
    if bad:
        value = stored[bad[0]]
        fault = "has no value" if value is None or value != value else f"is {_short(value)}"  # NaN is not itself
        raise UserError(
            f"{what}: {len(bad)} of the {len(stored)} labels are no integers; the first, of image {bad[0]}, {fault}. "
            "Expected one integer an image: the number of its class from 0, or -1 where it has no label."
        )
    return np.array([int(value) for value in stored], np.int64)


def _is_integer(value: object) -> bool:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def checked(labels: Any, classes: Sequence[str], what: str) -> Int64[np.ndarray, "n"]:
    """The labels of a split with these classes.

    Raises:
        UserError: when one is no integer, or neither -1 nor the number of a class.
    """
    numbers = integers(labels, what)
    bad = np.flatnonzero((numbers < -1) | (numbers >= len(classes)))
    if len(bad):
        is_from_1 = bool(numbers.max() == len(classes) and 0 not in numbers)
        raise UserError(
            f"{what}: {len(bad)} of the {len(numbers)} labels are no numbers of classes, first that of image {bad[0]}: "
            f"{numbers[bad[0]]}. Expected 0 to {len(classes) - 1} for the {len(classes)} classes ({listed(classes)}), "
            f"or -1 for an image without a label.{' Where numbers begin at 1, class 0 needs a name too.' * is_from_1}"
        )
    return numbers


class Numbered(NamedTuple):
    """The labels of a split, the classes that they number, and what has to be said of those."""

    labels: Int64[np.ndarray, "n"]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def by_number(name: str, every: Mapping[str, Int64[np.ndarray, "n"]], split: str) -> Numbered:
    """A split of a data set whose classes have no names: those numbers are classes that occur in any of its splits.

    Labels count them, so that none is larger than there are images; those below 0 stay what they are.

    Raises:
        UserError: for a split whose numbers are those of the training images and 1, or less 1.
    """
    taught, shown = (_occurring(each) for each in (every.get("train", every[split]), every[split]))
    if (
        len(taught)
        and len(shown)
        and (shift := int(shown[0] - taught[0])) == shown[-1] - taught[-1]
        and abs(shift) == 1
    ):
        raise UserError(
            f"{name}/{split} numbers its classes {shown[0]} to {shown[-1]}, and the training images {taught[0]} to "
            f"{taught[-1]}: one counts from 1 where the other counts from 0. Number both alike."
        )
    numbers, labels = np.unique(np.concatenate(list(every.values()))), every[split]
    numbers = numbers[numbers >= 0]
    missing = [(low + 1, high - 1) for low, high in pairwise([-1, *numbers.tolist()]) if high > low + 1]
    gaps = listed([str(low) if low == high else f"{low} to {high}" for low, high in missing])
    note = f"{name}: numbers that no image has are no classes: {gaps}. {len(numbers)} classes are left."
    return Numbered(
        np.where(labels < 0, labels, np.searchsorted(numbers, labels)),
        tuple(map(str, numbers.tolist())),
        (note,) * bool(gaps),
    )


def _occurring(labels: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "c"]:
    return np.unique(labels[labels >= 0])


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    return f"{', '.join(names[:SHOWN])}{' ...' * (len(names) > SHOWN)}"


def differing(name: object, classes: Mapping[str, Sequence[str]], cure: str = "") -> UserError:
    """The error for splits of `name` that have not the same classes."""
    union = sorted(set().union(*classes.values()))
    lacking = {split: [each for each in union if each not in present] for split, present in classes.items()}
    faults = [f"{split} lacks {listed(names)}" for split, names in lacking.items() if names]
    difference = "; ".join(faults) or "a name stands for several classes, and their order differs"
    return UserError(f"The splits of {name} differ in their classes: {difference}. Expected the same in each.{cure}")
