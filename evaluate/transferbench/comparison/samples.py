"""Which test images one candidate gets right and the other does not, the most telling first."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferbench.comparison import kept
from transferbench.comparison.pairs import Pairs, Versus
from transferbench.data import LabeledImages, open_split
from transferbench.data.dataset import open_dataset
from transferbench.data.located import located
from transferbench.data.subsets import limited
from transferbench.errors import UserError
from transferbench.records import Record
from transferbench.run.dataset_cache import LIMIT_SEED


@dataclass(frozen=True)
class ChangedImage:
    """One test image.

    Attributes:
        name: its name where the data set is here, else its index.
        gained: in how many results B is right and A is not, less those the other way round.
        of: how many results of each there are, over tasks and seeds.
        answers: each task's two answers, `A -> B`, of the first pair of runs that differ.
    """

    dataset: str
    index: int
    name: str
    label: str
    gained: int
    of: int
    answers: tuple[str, ...]


def changed(versus: Versus, root: Path) -> list[ChangedImage]:
    """The images that A and B differ on; first those that changed the same way under the most tasks and seeds.

    Args:
        versus: a comparison; lines without predictions add nothing.
        root: where data sets lie.
    """
    tests: dict[tuple[str, str, int | None], list[tuple[str, Pairs]]] = defaultdict(list)
    for line, pairs in zip(versus.lines, versus.pairs.values(), strict=True):
        if pairs and line.only_a is not None:
            record = pairs[0][0].record
            test = next(mark for split, mark in record.data_fingerprint.items() if split != "train")
            tests[record.dataset, test, record.limit].append((line.label, pairs))
    samples = [sample for each in tests.values() for sample in _changed(each, root)]
    return sorted(samples, key=lambda sample: (-abs(sample.gained), sample.dataset, sample.index))


def _changed(results: Sequence[tuple[str, Pairs]], root: Path) -> list[ChangedImage]:
    """Those of one test split."""
    record = results[0][1][0][0].record
    answers = [(label, _answers(pairs)) for label, pairs in results]
    labels = answers[0][1][0][0]
    gained = np.zeros(len(labels), np.int64)
    for _, pairs in answers:
        for _, first, second in pairs:
            gained += (second == labels).astype(np.int64) - (first == labels)
    images, count = _images(record, root), sum(len(pairs) for _, pairs in answers)
    classes = images.info.classes if images else None

    def named(index: int) -> str:
        return classes[index] if classes and 0 <= index < len(classes) else str(index)

    return [
        ChangedImage(
            dataset=record.dataset,
            index=int(i),
            name=images.names[int(i)] if images else str(i),
            label=named(int(labels[i])),
            gained=int(gained[i]),
            of=count,
            answers=tuple(text for label, pairs in answers for text in _told(label, pairs, int(i), named)),
        )
        for i in np.flatnonzero(gained)
    ]


def _answers(pairs: Pairs) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Labels, A's predictions and B's, of each pair of runs."""
    return [(*kept(a.record, a.out), kept(b.record, b.out)[1]) for a, b in pairs]


def _told(label: str, pairs: Sequence[tuple[np.ndarray, ...]], i: int, named: Callable[[int], str]) -> list[str]:
    differing = [(first[i], second[i]) for _, first, second in pairs if first[i] != second[i]]
    return [f"{label}: {named(int(a))} -> {named(int(b))}" for a, b in differing[:1]]


def _images(record: Record, root: Path) -> LabeledImages | None:
    """The test images that the record is about, where the data set is here and the same."""
    try:
        data = located(record.dataset, root)
        images = open_dataset(lambda split: open_split(data, split, root), record.split).test
        images = images if record.limit is None else limited(images, record.limit, LIMIT_SEED)
    except UserError:
        return None
    return images if images.fingerprint == record.data_fingerprint.get(images.split) else None
