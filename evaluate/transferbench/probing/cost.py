"""What a job will have to compute, known from its settings and the sizes of its data before anything runs."""

from dataclasses import dataclass

from transferbench.features.spec import FeatureSpec, LayerSpec
from transferbench.optim import UPDATE

PLAIN = FeatureSpec()
BOTH = ("train", "test")
ROUNDS = 100
"""Passes over the features that a head is taken to need where its settings do not say."""


@dataclass(frozen=True)
class JobCost:
    """Images through the backbone, and what is done with their features.

    Attributes:
        splits: those whose features are extracted once, and found again by other jobs with the same `reading`.
        passes: images that pass the frozen backbone, augmented anew each time, or tested anew.
        updates: images that the backbone is trained on.
        products: multiplications of a feature vector with another vector, by the head or search on top.
        batch: images held at once by what trains; 0 when nothing does.
        views: feature vectors of augmented images that are kept, beside those of `splits`.
        neighbors: how many are looked for at most, for each test image, by a search that leaves features on disk.
    """

    splits: tuple[str, ...] = ()
    passes: int = 0
    updates: int = 0
    products: int = 0
    batch: int = 0
    views: int = 0
    neighbors: int = 0
    reading: LayerSpec = PLAIN


def of_heads(reading: FeatureSpec, n_train: int, classes: int, epochs: int = ROUNDS) -> JobCost:
    """Of a linear head that passes `epochs` times over features of both splits, extracted once."""
    return JobCost(BOTH, products=head_products(n_train, classes, epochs), reading=reading)


def head_products(n_train: int, classes: int, epochs: int = ROUNDS) -> int:
    """Multiplications of feature vectors that training a linear head takes."""
    return epochs * UPDATE * n_train * classes
