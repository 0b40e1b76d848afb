"""A memory of the patches of training images: which are kept is settled from label maps alone, then features are made.

So how large it is is known before the first image is read. Features lie on disk, 4 bytes a number, and the classes of
the patches in memory.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from pydantic import Field
from torch import Tensor

from transferbench import stopping
from transferbench.errors import UserError
from transferbench.features.extraction import Report
from transferbench.runtime import Runtime
from transferbench.segmentation.dense_features import DenseFeatures
from transferbench.segmentation.dense_neighbors import Codes, Coding, Memory, Vote, counted, patched, rarest
from transferbench.segmentation.patch_views import Views
from transferbench.settings import Settings

FILE = "patches.npy"
CHUNK = 2**22
"""How many numbers are read and written together."""


class Remembering(Settings):
    """Which patches are remembered, and how."""

    vote: Vote = Field(
        "pixels",
        description="pixels: the commonest class at each pixel of the neighbors, patches whose commonest class is "
        "uncounted left out; shares: the classes' shares of neighbors weighted by exp(cosine / temperature), resized",
    )
    uncounted: bool = Field(
        True,
        description="training pixels without a class vote for one more class; false: for what the files number 0",
    )
    epochs: int = Field(0, ge=0, description="passes over augmented training images; 0: one over them as they are")
    memory_patches: int | None = Field(
        None, ge=1, description="patches remembered at most, equally many an image, rare classes first; none: all"
    )
    standardize: bool = Field(
        True, description="take off each feature's mean and divide by its deviation over training patches"
    )

    def coding(self, views: Views) -> Coding:
        """How classes are numbered in a split."""
        classes = len(views.images.info.classes)
        if views.images.maps.reduces(views.rule):
            return Coding(classes, 0)
        return Coding(classes, classes if self.uncounted else None)


@dataclass(frozen=True)
class Shown:
    """The training images, each with its epoch, in the order they are remembered in; the `first` ones teach."""

    epochs: Int64[np.ndarray, "n"]
    indices: Int64[np.ndarray, "n"]
    first: int

    @classmethod
    def of(cls, epochs: int, taught: Int64[np.ndarray, "t"], held_out: Int64[np.ndarray, "h"]) -> "Shown":
        """All epochs of the ones, then all of the others."""
        numbers = np.arange(max(1, epochs))
        parts = [(np.repeat(numbers, len(each)), np.tile(each, len(numbers))) for each in (taught, held_out)]
        epochs_of, indices = (np.concatenate(each) for each in zip(*parts, strict=True))
        return cls(epochs_of, indices, len(parts[0][0]))

    def mine(self, runtime: Runtime) -> Int64[np.ndarray, "m"]:
        """This process's contiguous share of them, by number."""
        return np.array_split(np.arange(len(self.indices)), runtime.world_size)[runtime.rank]


@dataclass(frozen=True)
class Place:
    """Where a memory is made: processes, a folder that all of them see, loader processes, and who is told."""

    runtime: Runtime
    folder: Path
    workers: int = 0
    report: Report | None = None


@dataclass(frozen=True)
class Grain:
    """Pixels that a patch is high and wide, and how many features it has."""

    height: int
    width: int
    features: int

    @classmethod
    def of(cls, dense: DenseFeatures, views: Views, device: torch.device) -> "Grain":
        """That of a backbone, found with the first image.

        Raises:
            UserError: where places do not divide it evenly.
        """
        _, images = next(views.batches(np.zeros(1, np.int64), np.zeros(1, np.int64), 0))
        maps = dense(images.to(device))
        (height, width), (rows, columns) = images.shape[2:], maps.shape[2:]
        patched(np.zeros((height, width), np.uint8), rows, columns)
        return cls(height // rows, width // columns, maps.shape[1])


@dataclass(frozen=True)
class Kept:
    """Which patches of each image shown are remembered, by position, and their `Memory.labels`."""

    grain: Grain
    positions: list[Int64[np.ndarray, "_"]]
    labels: Codes

    @property
    def starts(self) -> Int64[np.ndarray, "_"]:
        """The row of the memory that each image's patches begin at, and at last how many rows there are."""
        return np.cumsum([0, *map(len, self.positions)])


@dataclass
class Moments:
    """Number, mean and summed squared deviation of rows seen so far, in float64 (Chan, Golub and LeVeque 1983)."""

    count: int
    mean: Float64[np.ndarray, "d"]
    squares: Float64[np.ndarray, "d"]

    @classmethod
    def of(cls, rows: Float32[np.ndarray, "n d"]) -> "Moments":
        """Those of some rows."""
        exact = rows.astype(np.float64)
        mean = exact.mean(0) if len(rows) else np.zeros(rows.shape[1])
        return cls(len(rows), mean, ((exact - mean) ** 2).sum(0))

    def add(self, other: "Moments") -> None:
        """Take in those of more rows."""
        total = max(1, self.count + other.count)
        apart = other.mean - self.mean
        self.squares += other.squares + apart**2 * (self.count * other.count / total)
        self.mean += apart * (other.count / total)
        self.count += other.count


@dataclass(frozen=True)
class Scale:
    """What features are standardized by; a feature that does not vary is left undivided, as in scikit-learn."""

    mean: Float64[np.ndarray, "d"]
    deviation: Float64[np.ndarray, "d"]

    @classmethod
    def over(cls, seen: Moments) -> "Scale":
        """The scale of these moments."""
        n, eps = seen.count, np.finfo(np.float64).eps
        variance = seen.squares / n
        constant = variance <= n * eps * variance + (n * seen.mean * eps) ** 2
        return cls(seen.mean, np.where(constant, 1.0, np.sqrt(variance)))

    def apply(self, rows: Float32[np.ndarray, "n d"]) -> None:
        """Standardize rows in place."""
        step = max(1, CHUNK // rows.shape[1])
        for start in range(0, len(rows), step):
            rows[start : start + step] = (rows[start : start + step] - self.mean) / self.deviation


def kept(views: Views, shown: Shown, rule: Remembering, grain: Grain, runtime: Runtime) -> Kept:
    """What is remembered of each image, by its label map alone; the same in every process.

    Args:
        views: the training images.
        shown: their order.
        rule: how many and which.
        grain: the size of a patch.
        runtime: the processes, which share the label maps.

    Raises:
        UserError: for label maps that do not fit, or when no patch is left.
    """
    coding = rule.coding(views)
    quota = rule.memory_patches and max(1, rule.memory_patches // len(shown.indices))
    positions, labels = [], []
    for number in shown.mine(runtime).tolist():
        stopping.check()
        epoch, index = int(shown.epochs[number]), int(shown.indices[number])
        codes = coding.codes(views.labels(index, epoch))
        pixels = patched(codes, codes.shape[0] // grain.height, codes.shape[1] // grain.width)
        counts = counted(pixels, coding.size)
        chosen = np.arange(len(pixels))
        if rule.vote == "pixels" and coding.void is not None:
            chosen = chosen[counts.argmax(1) != coding.void]
        if quota:
            chosen = chosen[rarest(counts[chosen], quota, np.random.default_rng([views.seed, epoch, index]))]
        positions.append(chosen)
        labels.append((pixels if rule.vote == "pixels" else counts)[chosen])
    parts = runtime.gather_objects((positions, np.concatenate(labels) if labels else None))
    found = np.concatenate([each for _, each in parts if each is not None])
    if not len(found):
        raise UserError(
            f"No patch of the {len(views.images)} training images has a class. Expected label maps that hold numbers "
            "of classes: check `ignore_index` and `reduce_labels`."
        )
    return Kept(grain, [each for some, _ in parts for each in some], found)


def remembered(
    dense: DenseFeatures, views: Views, shown: Shown, found: Kept, standardize: bool, place: Place
) -> tuple[Memory, Scale | None]:
    """The memory, its features in the file `patches.npy` of the folder, and what queries are standardized by.

    Raises:
        UserError: for an image that cannot be decoded, or when the disk has no room.
    """
    runtime, starts, mine = place.runtime, found.starts, shown.mine(place.runtime)
    features = _file(place, (int(starts[-1]), found.grain.features))
    seen = Moments.of(features[:0])
    for which, images in views.batches(shown.epochs[mine], shown.indices[mine], place.workers):
        maps = rows_of(dense(images.to(runtime.device)))
        for number, rows in zip(mine[which].tolist(), maps, strict=True):
            features[starts[number] : starts[number + 1]] = rows[found.positions[number]]
        if standardize:
            seen.add(Moments.of(maps[mine[which] < shown.first].reshape(-1, maps.shape[2])))
        if place.report is not None:
            place.report(int(which[-1]) + 1, len(mine))
    scale = None
    if standardize:
        total = Moments.of(features[:0])
        for each in runtime.gather_objects(seen):
            total.add(each)
        scale = Scale.over(total)
        if len(mine):
            scale.apply(features[starts[mine[0]] : starts[mine[-1] + 1]])
    features.flush()
    runtime.barrier()
    return Memory(np.load(place.folder / FILE, mmap_mode="r"), found.labels), scale


def rows_of(maps: Float32[Tensor, "b d r c"]) -> Float32[np.ndarray, "b n d"]:
    """The features of each place, row by row."""
    return maps.flatten(2).transpose(1, 2).cpu().numpy()


@contextmanager
def shared_folder(cache: Path, runtime: Runtime) -> Iterator[Path]:
    """A new folder in the cache, the same in every process, that goes afterwards."""
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(runtime.gather_objects(tempfile.mkdtemp(prefix="patches-", dir=cache) if runtime.is_main else "")[0])
    try:
        yield folder
    finally:
        if runtime.is_main:
            shutil.rmtree(folder, ignore_errors=True)


def _file(place: Place, shape: tuple[int, int]) -> Any:
    """The array on disk, of zeros, to write into."""
    path, needed = place.folder / FILE, 4 * shape[0] * shape[1]
    if place.runtime.is_main:
        free = shutil.disk_usage(place.folder).free
        if needed > free:
            raise UserError(
                f"{shape[0]:,} patches with {shape[1]} features each take {needed / 2**30:.1f} GiB in {place.folder}, "
                f"where {free / 2**30:.1f} GiB are free. Set `memory_patches`, or another --cache."
            )
        np.lib.format.open_memmap(path, "w+", np.float32, shape).flush()
    place.runtime.barrier()
    return np.load(path, mmap_mode="r+")
