"""k nearest neighbours on frozen features: several k from one exact search, majority or weighted vote."""

from typing import Literal

import numpy as np
import pydantic
from jaxtyping import Float64, Int64
from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.features import FeatureSet, Precision
from transferbench.neighbours import Metric, Neighbours, search
from transferbench.runtime import Runtime
from transferbench.settings import Settings
from transferbench.tasks import Bench, Dataset, Outcome, accuracy

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


class Config(Settings):
    """As in DINO's evaluation (spec 2.6, [code]); the whitening papers' 5-NN is `wmse5` in peers D.7."""

    ks: tuple[int, ...] = Field(
        (5, 10, 20, 200),
        min_length=1,
        description="numbers of neighbours; one above the training set's size becomes it",
    )
    k: int = Field(20, ge=1, description="the k of the main score, one of ks")
    metric: Metric = Field("cosine", description="euclidean compares features as they are")
    vote: Literal["majority", "weighted"] = Field("weighted", description="weighted: by exp(cosine / temperature)")
    temperature: float = Field(0.07, gt=0)
    precision: Precision = Field("float32", description="what the backbone computes in")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Config":
        if min(self.ks) < 1 or self.k not in self.ks:
            raise ValueError(f"k={self.k} must be one of ks={self.ks}, all at least 1")
        if self.vote == "weighted" and self.metric != "cosine":
            raise ValueError("a weighted vote needs metric=cosine; with euclidean set vote=majority")
        return self


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return "k-NN"


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy for every k, named `top1@k` by the k that was used, and `top1` for the main one. Nothing is random."""
    train = bench.features(candidate, dataset.train, config.precision)
    test = bench.features(candidate, dataset.test, config.precision)
    found = _neighbours(train, test, min(max(config.ks), len(train.labels)), config.metric, bench.runtime)
    labels = train.labels[found.indices]
    weights = np.ones_like(found.values)
    if config.vote == "weighted":
        weights = np.exp((found.values - found.values[:, :1]) / config.temperature)
    used = sorted({min(k, len(train.labels)) for k in config.ks})
    classes = len(dataset.train.info.classes)
    predictions = {k: vote(labels[:, :k], weights[:, :k], classes) for k in used}
    main = predictions[min(config.k, len(train.labels))]
    scores = [accuracy("top1", main == test.labels)]
    scores += [accuracy(f"top1@{k}", predictions[k] == test.labels) for k in used]
    kept = {"labels": test.labels} | {f"k{k}": predicted for k, predicted in predictions.items()}
    return Outcome(tuple(scores), {"predictions": bench.keep("predictions.npz", kept)})


def vote(labels: Int64[np.ndarray, "m k"], weights: Float64[np.ndarray, "m k"], classes: int) -> Int64[np.ndarray, "m"]:
    """The class with the largest total weight among each row's neighbours; of equal ones the smallest (spec 2.3)."""
    winners = np.empty(len(labels), np.int64)
    for start in range(0, len(labels), 4096):
        part = labels[start : start + 4096]
        cells = (np.arange(len(part))[:, None] * classes + part).ravel()
        totals = np.bincount(cells, weights[start : start + 4096].ravel(), len(part) * classes)
        winners[start : start + 4096] = totals.reshape(len(part), classes).argmax(1)
    return winners


def _neighbours(train: FeatureSet, test: FeatureSet, k: int, metric: Metric, runtime: Runtime) -> Neighbours:
    """The search with the queries shared among processes."""
    mine = np.array_split(test.features, runtime.world_size)[runtime.rank]
    parts = runtime.gather_objects(search(train.features, mine, k, metric, device=runtime.device))
    values = np.concatenate([part.values for part in parts])
    return Neighbours(values, np.concatenate([part.indices for part in parts]))
