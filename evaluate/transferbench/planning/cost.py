"""What a job will have to compute, known from its settings and the sizes of its data before anything runs."""

from dataclasses import dataclass
from typing import Any

from transferbench.features.spec import FeatureSpec
from transferbench.optim import UPDATE
from transferbench.probing.probe import Probe, Tuning

PLAIN = FeatureSpec()
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
        neighbours: how many are looked for at most, for each test image, by a search that leaves features on disk.
    """

    splits: tuple[str, ...] = ()
    passes: int = 0
    updates: int = 0
    products: int = 0
    batch: int = 0
    views: int = 0
    neighbours: int = 0
    reading: FeatureSpec = PLAIN


def cost_of(config: Any, n: int, m: int, classes: int) -> JobCost:
    """The effort of a protocol with these settings on `n` training and `m` test images."""
    if hasattr(config, "updates"):
        return JobCost((), m, config.updates, batch=config.batch_size or 1)
    epochs = int(getattr(config, "epochs", 0))
    taken = {name: getattr(config, name) for name in FeatureSpec.model_fields if hasattr(config, name)}
    reading, fitting = FeatureSpec.model_validate(taken), UPDATE * n * classes
    if isinstance(config, Tuning):
        part = round(n * getattr(config, "percent", 100) / 100)
        return JobCost((), epochs * m, epochs * part, batch=config.batch_size, reading=reading)
    if crops := int(getattr(config, "crops", 0)):
        heads = len(getattr(config, "lrs", (0,))) * len(getattr(config, "weight_decays", (0,)))
        splits = ("train", "test") if hasattr(config, "held_out") else ("test",)
        views = min(crops, epochs) * n
        return JobCost(splits, views, products=epochs * heads * fitting, views=views, reading=reading)
    if isinstance(config, Probe):
        return JobCost(("test",), epochs * n, products=epochs * fitting, batch=config.batch_size, reading=reading)
    if ks := getattr(config, "ks", ()):
        return JobCost(("train", "test"), products=n * m, neighbours=min(n, max(ks)), reading=reading)
    return JobCost(("train", "test"), products=(epochs or ROUNDS) * fitting, reading=reading)
