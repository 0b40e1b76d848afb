"""A memory of the patches of training images: features on disk, 4 bytes a number, classes of the patches in memory.

How large it is is known before the first image is read, for label maps say which patches are kept.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from transferbench.errors import UserError
from transferbench.features.extraction import Report
from transferbench.runtime import Runtime
from transferbench.segmentation.dense_features import DenseFeatures
from transferbench.segmentation.dense_neighbors import Memory
from transferbench.segmentation.feature_scale import Moments, Scale
from transferbench.segmentation.kept_patches import Kept, Shown
from transferbench.segmentation.patch_views import Views

FILE = "patches.npy"


@dataclass(frozen=True)
class Place:
    """Where a memory is made: processes, a folder that all of them see, loader processes, and who is told."""

    runtime: Runtime
    folder: Path
    workers: int = 0
    report: Report | None = None


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
