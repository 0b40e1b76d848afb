"""What a page shows, as plain values: charts, confusion matrices, galleries of neighbors and pictures."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

Style = Literal["line", "dashed", "faint", "points", "hollow", "dust"]


@dataclass(frozen=True)
class Axis:
    """An axis and what it is called; without a name it is not drawn, for its numbers mean nothing."""

    label: str = ""
    is_log: bool = False
    is_whole: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one thing, joined or not.

    Attributes:
        name: for the legend; empty leaves it out of there.
        color: its place in the palette.
        labels: written beside the points, one each, or one in the middle of them all; none without.
    """

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    style: Style = "line"
    color: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A drawing with two axes; `key` is its name as a file."""

    key: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    kind: Literal["chart"] = "chart"

    def drawn(self) -> tuple[Series, ...]:
        """Each series with those points only that have a place on both axes."""
        return tuple(_placed(each, self.x.is_log, self.y.is_log) for each in self.series)

    def legend(self) -> list[tuple[str, Series]]:
        """The series that need a name, each with the number that stands at the end of its line."""
        named = [each for each in self.series if each.name and each.style != "faint" and not each.labels]
        return [(str(i + 1) if len(named) > 1 else "", each) for i, each in enumerate(named)]

    def others(self) -> list[str]:
        """The names of what is only drawn to compare with."""
        return [each.name for each in self.series if each.style == "faint"]


@dataclass(frozen=True)
class Matrix:
    """Counts of test images: lines are true classes, columns what was predicted."""

    key: str
    title: str
    caption: str
    classes: tuple[str, ...]
    counts: Int64[np.ndarray, "c c"]
    kind: Literal["matrix"] = "matrix"

    def shares(self) -> list[list[float]]:
        """Each line's shares of its class, 0 to 1; of a class without images 0."""
        totals = self.counts.sum(1, keepdims=True)
        return (self.counts / np.maximum(totals, 1)).tolist()

    def confusions(self, most: int) -> list[tuple[str, str, int]]:
        """The most frequent mistakes as (true, predicted, images)."""
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        places = [divmod(int(place), len(self.classes)) for place in order]
        return [(self.classes[i], self.classes[j], int(wrong[i, j])) for i, j in places if wrong[i, j]]


@dataclass(frozen=True)
class Picture:
    """A small image, as the bytes of a WebP file, and its class; `closeness` is how near it lies."""

    content: bytes
    label: str
    is_right: bool = True
    closeness: str = ""


@dataclass(frozen=True)
class Gallery:
    """Test images, each with its nearest training images."""

    key: str
    title: str
    caption: str
    lines: tuple[tuple[Picture, tuple[Picture, ...]], ...]
    kind: Literal["gallery"] = "gallery"


@dataclass(frozen=True)
class Pictures:
    """Test images with findings drawn on or beside them, all in one, as the bytes of a WebP file; `alt` says which."""

    key: str
    title: str
    caption: str
    alt: str
    content: bytes
    kind: Literal["pictures"] = "pictures"


Figure = Chart | Matrix | Gallery | Pictures


class MissingError(Exception):
    """Something that a page would show and cannot.

    Attributes:
        what: what is missing, and why.
        command: what makes it; empty where no command does.
    """

    def __init__(self, what: str, command: str = "") -> None:
        super().__init__(what)
        self.what, self.command = what, command


@dataclass(frozen=True)
class Panel:
    """One part of a checkpoint's section: figures, and what is missing of them; a wide one has lines of its own."""

    title: str
    figures: tuple[Figure, ...] = ()
    missing: tuple[MissingError, ...] = ()
    is_wide: bool = False


def several(name: str, runs: int) -> str:
    """A name, and how many runs share it when there are more than one."""
    return name if runs == 1 else f"{name} ({runs} runs)"


def _placed(series: Series, is_log_x: bool, is_log_y: bool) -> Series:
    def fits(value: float, is_log: bool) -> bool:
        return bool(np.isfinite(value)) and (value > 0 or not is_log)

    kept = [
        i for i, (x, y) in enumerate(zip(series.xs, series.ys, strict=True)) if fits(x, is_log_x) and fits(y, is_log_y)
    ]
    labels = tuple(series.labels[i] for i in kept) if len(series.labels) == len(series.xs) else series.labels
    xs, ys = tuple(series.xs[i] for i in kept), tuple(series.ys[i] for i in kept)
    return Series(series.name, xs, ys, series.style, series.color, labels if kept else ())
