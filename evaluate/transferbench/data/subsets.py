"""Parts of a training set: a fraction of every class, so many images, or a published list of files."""

from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64

from transferbench import renamed, state
from transferbench.data import LabeledImages
from transferbench.errors import UserError

SPLITS = Path(__file__).parent / "splits"
"""Holds SimCLR's `imagenet_1percent.txt` and `imagenet_10percent.txt` (docs/protocols.md#label-subsets)."""


def stratified(labels: Int64[np.ndarray, "n"], fraction: float, seed: int) -> Int64[np.ndarray, "m"]:
    """Sorted positions of `fraction` of each class, at least one; with one seed a smaller part lies in a larger one.

    Raises:
        UserError: when some images have no label.
    """
    if (labels < 0).any():
        raise UserError(f"{(labels < 0).sum()} of the {len(labels)} images have no label, so no share of each class.")
    counts = np.bincount(labels)
    return np.flatnonzero(ranks(labels, seed) < _share(counts, fraction)[labels])


def per_class(labels: Int64[np.ndarray, "n"], count: int, seed: int) -> Int64[np.ndarray, "m"]:
    """Sorted positions of `count` of each class, all where it has no more; with one seed fewer lie in more."""
    return np.flatnonzero(ranks(labels, seed) < count)


def leaves_out(labels: Int64[np.ndarray, "n"], count: int | None = None, fraction: float = 1.0) -> bool:
    """Whether `per_class` of `count`, or else `stratified`, leaves an image out, so that the seed decides which."""
    of_class = np.unique(labels, return_counts=True)[1]
    return bool((of_class > (_share(of_class, fraction) if count is None else count)).any())


def _share(counts: Int64[np.ndarray, "c"], fraction: float) -> np.ndarray:
    return np.maximum(1, np.rint(fraction * counts))


def limited(images: LabeledImages, n: int, seed: int) -> LabeledImages:
    """At most `n` images, the classes as even as they can be; all of them when there are no more than `n`.

    Where some images have no label, all are drawn alike.
    """
    if n >= len(images):
        return images
    tie = np.random.default_rng([seed, 1]).permutation(len(images))
    known = (images.labels >= 0).all()
    chosen = np.lexsort((tie, ranks(images.labels, seed)) if known else (tie,))[:n]
    return images.subset(np.sort(chosen), f"limit {n} seed {seed}")


def labeled(images: LabeledImages) -> LabeledImages:
    """The images that have a label; `images` itself when all have."""
    known = images.labels >= 0
    return images if known.all() else images.subset(np.flatnonzero(known), "labelled")


def named(images: LabeledImages, listing: Path) -> LabeledImages:
    """The images whose file names stand in `listing`, one a line, whatever folder they lie in.

    Raises:
        UserError: when a listed file is not there, or when two images bear a listed name.
    """
    listed = listing.read_text().split()
    places = {PurePosixPath(name).name: i for i, name in enumerate(images.names)}
    missing = [name for name in listed if name not in places]
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(listed)} files in {listing.name} are not in {images.info.name}/{images.split} "
            f"(first: {missing[0]}). Expected every one; use the data set that the list was made for, whole."
        )
    chosen = np.sort(np.array([places[name] for name in set(listed)], dtype=np.int64))
    wanted = set(listed)
    if sum(PurePosixPath(name).name in wanted for name in images.names) > len(chosen):
        raise UserError(
            f"Several images of {images.info.name}/{images.split} have the same file name, which {listing.name} "
            "lists. Expected names that are unique across classes."
        )
    return images.subset(chosen, f"list {state.file_sha256(listing)}")


def ranks(labels: Int64[np.ndarray, "n"], seed: int) -> Int64[np.ndarray, "n"]:
    """Each image's place (from 0) in a random order of its own class."""
    order = np.random.default_rng([seed, 0]).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    starts = np.cumsum(np.bincount(labels)) - np.bincount(labels)
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[by_class] = np.arange(len(labels)) - starts[labels[by_class]]
    return ranks


__getattr__ = renamed.names_of(__name__)
