"""How many dimensions the features of the test images really use: rank measures of their covariance."""

import numpy as np
from pydantic import Field

from transferbench import metrics
from transferbench.checkpoints import Candidate
from transferbench.features.spec import FeatureSpec
from transferbench.probing.cost import of_heads
from transferbench.records import Score
from transferbench.tasks import Bench, Dataset, JobCost, Outcome

VERSION = "2"
FROZEN = True
LABELS = ("one label", "several labels")
PRIMARY = "rankme"


class Config(FeatureSpec):
    """Measures of backbone features, centered but for uniformity and class_alignment (docs/protocols.md#spectrum)."""

    rank_tolerance: float = Field(
        1e-6, gt=0, lt=1, description="an eigenvalue counts for numerical_rank above this part of the largest"
    )
    condition_floor: float = Field(
        1e-12, gt=0, lt=1, description="the smallest eigenvalue is taken to be at least this part of the largest"
    )
    paired: int = Field(
        4096, ge=2, description="uniformity is over the pairs of at most this many images, spread evenly over the split"
    )


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return config.beside("RankMe")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Nothing is random."""
    return False


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """As a head on features of both splits, which is more than it takes."""
    return of_heads(config, n_train, classes)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """The measures as scores, the spectrum as an artifact. Constant features have every rank 0. Nothing is random."""
    extracted = bench.features(candidate, dataset.test, config)
    features, labels = extracted.features, extracted.labels
    spread_evenly = np.unique(np.linspace(0, len(features) - 1, min(config.paired, len(features))).astype(np.int64))
    deviations = metrics.centered(features)
    values = metrics.eigenvalues(deviations)
    spread = metrics.standard_deviations(deviations)
    higher_is_better = {
        "rankme": metrics.rankme(values),
        "effective_rank": metrics.effective_rank(values),
        "stable_rank": metrics.stable_rank(values),
        "participation_ratio": metrics.participation_ratio(values),
        "numerical_rank": float(metrics.numerical_rank(values, config.rank_tolerance)),
        "mean_std": spread.mean(),
        "min_std": spread.min(),
    }
    lower_is_better = {
        "log10_condition": metrics.log_condition(values, config.condition_floor),
        "mean_abs_correlation": metrics.mean_absolute_correlation(deviations),
        "power_law": metrics.power_law(values, config.rank_tolerance),
        "uniformity": metrics.uniformity(features[spread_evenly]),
    }
    if dataset.test.targets is None:
        lower_is_better["class_alignment"] = metrics.class_alignment(features, labels)
    scores = [_score(name, value, True, len(features)) for name, value in higher_is_better.items()]
    scores += [_score(name, value, False, len(features)) for name, value in lower_is_better.items()]
    kept = bench.keep("spectrum.npz", {"eigenvalues": values, "std": spread})
    return Outcome(tuple(scores), {"spectrum": kept})


def _score(metric: str, value: float, higher_is_better: bool, n: int) -> Score:
    return Score(metric=metric, value=float(value), unit="", higher_is_better=higher_is_better, n=n)
