"""Few-shot: closed-form ridge regression on frozen features of a few images per class; mean over several draws."""

import statistics
from dataclasses import dataclass

import numpy as np
import pydantic
from jaxtyping import Float64, Int64
from pydantic import Field

from transferbench import stopping
from transferbench.checkpoints import Candidate
from transferbench.data.subsets import leaves_out, per_class
from transferbench.features.spec import FeatureSpec
from transferbench.metrics import mean_per_class
from transferbench.probing.cost import of_heads
from transferbench.records import Score
from transferbench.tasks import Bench, Dataset, JobCost, Outcome

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


class Config(FeatureSpec):
    """In the manner of big_vision's few-shot probe; the penalty is chosen by leaving each training image out.

    What differs from it: docs/protocols.md#few-shot.
    """

    shots: int = Field(default=10, ge=1, description="images per class for the main score, or all of a smaller class")
    others: tuple[int, ...] = Field(default=(1, 5, 25), description="other numbers of images per class to report")
    draws: int = Field(default=5, ge=1, description="random sets of images that scores are averaged over")
    penalties: tuple[float, ...] = Field(
        default=(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        min_length=1,
        description="penalties to choose from, in mean squared norms of the centered features; one is a fixed penalty",
    )

    @pydantic.model_validator(mode="after")
    def _positive(self) -> "Config":
        if min(self.others, default=1) < 1 or min(self.penalties) <= 0:
            raise ValueError(f"others={self.others} must be at least 1, penalties={self.penalties} above 0")
        return self


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return config.beside(f"{config.shots}-shot")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Where a class has more images than the fewest that are drawn of each."""
    return leaves_out(dataset.train.labels, min({config.shots, *config.others}))


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """A head on features of both splits."""
    return of_heads(config, n_train, classes)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Mean over draws in the data set's metric, named `top1@n` for n images a class, and the spread of draws, `std@n`.

    A class may have fewer: `images` says how many they are together.

    Artifact: predictions of each draw, and those of the first as `predictions`.
    """
    train = bench.features(candidate, dataset.train, config)
    test = bench.features(candidate, dataset.test, config)
    metric, classes = dataset.test.info.metric, len(dataset.train.info.classes)
    scores: list[Score] = []
    images: dict[str, int] = {}
    kept = {"labels": test.labels}
    for shots in sorted({config.shots, *config.others}):
        drawn = [per_class(train.labels, shots, seed * config.draws + draw) for draw in range(config.draws)]
        by_draw = [_predicted(train.features[few], train.labels[few], test.features, classes, config) for few in drawn]
        values = [_value(predictions, test.labels, metric) for predictions in by_draw]
        main = [metric] if shots == config.shots else []
        how = {"n": len(test.labels), "seeded": leaves_out(train.labels, shots)}
        for name in [*main, f"{metric}@{shots}"]:
            scores.append(Score(metric=name, value=statistics.fmean(values), **how))
            images[name] = len(drawn[0])
        if config.draws > 1:
            scores.append(Score(metric=f"std@{shots}", value=statistics.stdev(values), higher_is_better=False, **how))
        kept |= {"predictions": by_draw[0]} if main else {}
        kept[f"shots{shots}"] = np.stack(by_draw)
    return Outcome(tuple(scores), {"predictions": bench.keep("predictions.npz", kept)}, images)


@dataclass(frozen=True)
class Ridge:
    """Every ridge regression of some targets on some samples, whatever the penalty, from one eigendecomposition.

    With centered samples X = P Vᵀ (V orthonormal, the columns of P orthogonal with squared norms `lengths`) the weights
    at penalty λ are V (lengths + λ)⁻¹ Pᵀ Y; the intercept bears no penalty.
    """

    mean: Float64[np.ndarray, "d"]
    directions: Float64[np.ndarray, "d r"]
    coordinates: Float64[np.ndarray, "n r"]
    lengths: Float64[np.ndarray, "r"]
    targets: Float64[np.ndarray, "n c"]

    def weights(self, penalty: float) -> Float64[np.ndarray, "r c"]:
        """The weights of the coordinates."""
        return (self.coordinates.T @ (self.targets - self.targets.mean(0))) / (self.lengths + penalty)[:, None]

    def scores(self, samples: Float64[np.ndarray, "m d"], penalty: float) -> Float64[np.ndarray, "m c"]:
        """What is predicted for new samples."""
        weights = self.directions @ self.weights(penalty)
        return samples @ weights + (self.targets.mean(0) - self.mean @ weights)

    def left_out(self, penalty: float) -> Float64[np.ndarray, "n c"]:
        """What is predicted for each sample by the regression on all others."""
        leverage = 1 / len(self.targets) + (self.coordinates**2 / (self.lengths + penalty)).sum(1)
        residuals = self.targets - self.targets.mean(0) - self.coordinates @ self.weights(penalty)
        return self.targets - residuals / np.maximum(1 - leverage, 1e-12)[:, None]


def ridge(samples: Float64[np.ndarray, "n d"], targets: Float64[np.ndarray, "n c"]) -> Ridge:
    """The regressions, by the eigenvectors of whichever is smaller, the samples' or the dimensions' products."""
    mean = samples.mean(0)
    x = samples - mean
    n, d = x.shape
    lengths, vectors = np.linalg.eigh(x @ x.T if n < d else x.T @ x)
    real = lengths > max(n, d) * np.finfo(np.float64).eps * max(lengths[-1], np.finfo(np.float64).tiny)
    lengths, vectors = lengths[real], vectors[:, real]
    directions = x.T @ vectors / np.sqrt(lengths) if n < d else vectors
    return Ridge(mean, directions, x @ directions, lengths, targets)


def _predicted(
    features: np.ndarray, labels: Int64[np.ndarray, "n"], test: np.ndarray, classes: int, config: Config
) -> Int64[np.ndarray, "m"]:
    """The class of the highest score for each test image; of penalties that predict equally well the largest."""
    stopping.check()
    solution = ridge(features.astype(np.float64), np.eye(classes)[labels])
    unit = solution.lengths.sum() / len(labels) or 1.0
    hits = {each: int((solution.left_out(each * unit).argmax(1) == labels).sum()) for each in config.penalties}
    best = max(hits, key=lambda penalty: (hits[penalty], penalty))
    return solution.scores(test.astype(np.float64), best * unit).argmax(1)


def _value(predictions: Int64[np.ndarray, "m"], labels: Int64[np.ndarray, "m"], metric: str) -> float:
    hits = predictions == labels
    return 100 * (mean_per_class(hits, labels) if metric == "mean_per_class" else float(hits.mean()))
