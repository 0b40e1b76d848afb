"""k nearest neighbors on frozen features: several k from one exact search, majority or weighted vote."""

import warnings
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic
from jaxtyping import Float64, Int64
from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.data.subsets import leaves_out, per_class
from transferbench.features.spec import FeatureSpec, LaterFeatureSpec
from transferbench.neighbors import Metric, capped
from transferbench.neighbors.cache import cached_search
from transferbench.probing.cost import BOTH
from transferbench.tasks import Bench, Dataset, JobCost, Outcome, accuracy

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


COSINE = {"metric": "cosine", "vote": "weighted"}


class Config(LaterFeatureSpec):
    """As in DINO's evaluation. Where the presets come from: docs/protocols.md#k-nn."""

    PRESETS: ClassVar = {
        "wmse5": {"ks": (5,), "k": 5, "metric": "euclidean", "vote": "majority"},
        "instdisc": {"ks": (200,), "k": 200, "temperature": 0.1, **COSINE},
        "simsiam": {"ks": (200,), "k": 200, "temperature": 0.2, **COSINE},
        "dino": {"ks": (10, 20, 100, 200), "k": 20, "temperature": 0.07, **COSINE},
    }
    SOURCES: ClassVar = {
        "wmse5": "winci-ai/INTL cifar/eval/evaluate.py, as CW-RGP and W-MSE",
        "instdisc": "second-hand: lightly benchmarks/imagenet/resnet50/knn_eval.py",
        "simsiam": "facebookresearch/simsiam#10",
        "dino": "facebookresearch/dino eval_knn.py",
    }

    k: int = Field(20, ge=1, description="k of the main score")
    ks: tuple[int, ...] = Field(
        (5, 10, 20, 200),
        description="every k to report; all training images where there are fewer than k",
    )
    metric: Metric = Field("cosine", description="cosine, or euclidean on unnormalized features")
    vote: Literal["majority", "weighted"] = Field("weighted", description="weighted: by exp(cosine / temperature)")
    temperature: float = Field(0.07, gt=0, description="vote=weighted: temperature in exp(cosine / temperature)")
    per_class: int | None = Field(
        None, ge=1, description="use only this many training images per class, drawn by the seed"
    )

    @pydantic.field_validator("ks")
    @classmethod
    def _with_k(cls, ks: tuple[int, ...], info: Any) -> tuple[int, ...]:
        """Every number once, in order, with that of the main score."""
        if min(ks, default=1) < 1:
            raise ValueError("numbers of neighbors must be at least 1")
        return tuple(sorted({*ks, info.data["k"]} if "k" in info.data else ks))

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.vote == "weighted" and self.metric != "cosine":
            raise ValueError("a weighted vote needs metric=cosine; with euclidean set vote=majority")
        usual = type(self).model_fields["temperature"].default
        if self.vote == "majority" and self.temperature != usual:
            raise ValueError(
                f"vote=majority has no temperature, found {self.temperature:g}: leave it at {usual:g}, or set "
                "vote=weighted"
            )
        return self


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    few = f", {config.per_class} a class" if config.per_class else ""
    rule = f"T {config.temperature:g}" if config.vote == "weighted" else config.metric
    whole = config.model_copy(update={"per_class": None, **dict(FeatureSpec())})
    is_usual = whole == Config.model_validate({})
    return config.beside(f"k-NN{few}" if is_usual else f"{config.k}-NN ({whole.preset() or rule}{few})")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """With `per_class`, where a class has more images than that."""
    return config.per_class is not None and leaves_out(dataset.train.labels, config.per_class)


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """A search among the training images for every test image."""
    most = capped(max(config.ks), n_train)
    return JobCost(BOTH, products=n_train * n_test, neighbors=most, reading=config)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy for every k, named `top1@k` by the k that was used, and `top1` for the main one.

    Searches for the same features are shared by all settings; only with `per_class` is anything random.
    """
    train = bench.features(candidate, dataset.train, config)
    test = bench.features(candidate, dataset.test, config)
    features, labels = train.features, train.labels
    if config.per_class:
        few = per_class(labels, config.per_class, seed)
        features, labels = features[few], labels[few]
    if config.k > len(labels):
        warnings.warn(
            f"k-NN with k={config.k}: there are {len(labels)} training images, so all of them vote. Set a smaller k.",
            stacklevel=2,
        )
    neighbors = cached_search(features, test.features, max(config.ks), config.metric, bench.runtime, bench.cache)
    classes, weights = labels[neighbors.indices], np.ones_like(neighbors.values)
    if config.vote == "weighted":
        weights = np.exp((neighbors.values - neighbors.values[:, :1]) / config.temperature)
    used = sorted({capped(k, len(labels)) for k in config.ks})
    predictions = {k: vote(classes[:, :k], weights[:, :k], len(dataset.train.info.classes)) for k in used}
    main = predictions[capped(config.k, len(labels))]
    scores = [accuracy("top1", main == test.labels)]
    scores += [accuracy(f"top1@{k}", predictions[k] == test.labels) for k in used]
    shown = {"labels": test.labels, "predictions": main} | {f"k{k}": each for k, each in predictions.items()}
    artifacts = {"predictions": bench.keep("predictions.npz", shown)}
    return Outcome(tuple(scores), artifacts, {"": len(labels)} if config.per_class else {})


def vote(labels: Int64[np.ndarray, "m k"], weights: Float64[np.ndarray, "m k"], classes: int) -> Int64[np.ndarray, "m"]:
    """The class with the largest total weight among each row's neighbors; of equal ones the smallest."""
    winners = np.empty(len(labels), np.int64)
    for start in range(0, len(labels), 4096):
        part = labels[start : start + 4096]
        cells = (np.arange(len(part))[:, None] * classes + part).ravel()
        totals = np.bincount(cells, weights[start : start + 4096].ravel(), len(part) * classes)
        winners[start : start + 4096] = totals.reshape(len(part), classes).argmax(1)
    return winners
