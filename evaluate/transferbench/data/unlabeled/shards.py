"""Shards of images without classes: tars with members KEY.jpg, of whatever name; classes that there are, are left out.

Shards are taken in the order of their names, and so are their members. The fingerprint is a sha256 over the names of
both and the sizes of members.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transferbench.data import LabeledImages
from transferbench.data.sources.webdataset import ShardReader, index_of
from transferbench.data.unlabeled.bare import bare
from transferbench.errors import UserError


def have_labels(paths: Sequence[Path]) -> bool:
    """Whether an image in some shards has a class.

    Raises:
        UserError: naming a shard that cannot be read.
    """
    return any(image.label >= 0 for image in index_of(paths, is_judged=True).images)


def opened(name: str, paths: Sequence[Path], root: Path | None = None) -> LabeledImages:
    """The images in some shards, which are named from `root`, by default by their file names alone.

    Raises:
        UserError: when one cannot be read, or none holds an image.
    """
    index = index_of(sorted(paths), is_judged=True)
    if not index.images:
        raise UserError(f"No image in the shards of {name} (first: {min(paths)}). Expected members KEY.jpg, .png, ...")
    shown = {path: path.relative_to(root).as_posix() if root else path.name for path in paths}
    names = [f"{shown[image.shard]}/{image.name}" for image in index.images]
    sizes = np.array([image.size for image in index.images], np.uint64)
    content = "".join(f"{each}\0{size}\n" for each, size in zip(names, sizes.tolist(), strict=True))
    mark = hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()
    return bare(name, names, ShardReader(index.images), mark, sizes << np.uint64(32), index.notes)
