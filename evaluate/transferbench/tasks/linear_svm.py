"""Linear support vector machines, one for each class, on images with several labels: VOC07 classification."""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int8
from pydantic import Field

from transferbench import intervals, stopping
from transferbench.checkpoints import Candidate
from transferbench.errors import UserError
from transferbench.features.spec import FeatureSpec
from transferbench.metrics import average_precision
from transferbench.probing.cost import of_heads
from transferbench.records import Score
from transferbench.tasks import Bench, Dataset, JobCost, Outcome

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC

VERSION = "1"
FROZEN = True
LABELS = ("several labels",)
PRIMARY = "map11"


class Config(FeatureSpec):
    """As in VISSL (after Goyal et al., 2019), but for the costs and the precision, which is VOC2007's at 11 points.

    Source, and what else differs: docs/protocols.md#linear-svm.

    The cost of each class is chosen by cross-validated average precision. What is hard to tell counts as not there in
    training and not at all in testing.
    """

    costs: tuple[float, ...] = Field(
        default=(1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        min_length=1,
        description="candidates for C, the weight of the hinge loss; each class has its own",
    )
    folds: int = Field(default=3, ge=2, description="parts of the training images in the cross-validation of C")
    positive_weight: float = Field(
        default=2.0, gt=0, description="weight of an image that shows the class; 1 for others"
    )
    max_iterations: int = Field(default=2000, ge=1, description="maximum passes of the solver (liblinear)")
    normalise: bool = Field(default=True, description="scale every feature vector to length 1")


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return config.beside("SVM")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Always: liblinear takes the images in an order that is drawn."""
    return True


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """A head on features of both splits."""
    return of_heads(config, n_train, classes)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Mean over classes of the 11-point average precision, of the area below the curve (`map`), and `converged`.

    Artifact: scores and targets of the test images, and each class's precision and cost.

    Raises:
        UserError: when a class is shown by fewer training images than there are folds, or by no test image.
    """
    truth, targets = dataset.train.targets, dataset.test.targets
    if truth is None or targets is None:
        raise UserError(f"{dataset.train.info.name} has one label per image. Expected several, as in voc07.")
    _require_enough(truth, targets, dataset.train.info.classes, config.folds)
    train = _scaled(bench.features(candidate, dataset.train, config).features, config.normalise)
    test = _scaled(bench.features(candidate, dataset.test, config).features, config.normalise)
    fitted = [_fit(train, truth[:, c] == 1, config, seed) for c in range(truth.shape[1])]
    scores = np.stack([model.decision_function(test) for model, _ in fitted], 1)
    precisions = _precisions(scores, targets, 11)
    bounds = intervals.resampled(
        lambda chosen: float(np.nanmean(_precisions(scores[chosen], targets[chosen], 11))), len(test)
    )
    n, converged = len(test), np.mean([done for _, done in fitted])
    values = (
        Score(metric="map11", value=100 * precisions.mean(), n=n, bootstrap=(100 * bounds[0], 100 * bounds[1])),
        Score(metric="map", value=100 * _precisions(scores, targets, None).mean(), n=n),
        Score(metric="converged", value=100 * float(converged), n=n),
    )
    costs = np.array([model.C for model, _ in fitted])
    kept = {"targets": targets, "scores": scores, "precisions": precisions, "costs": costs}
    return Outcome(values, {"predictions": bench.keep("predictions.npz", kept)})


def _require_enough(
    truth: Int8[np.ndarray, "n c"], targets: Int8[np.ndarray, "m c"], classes: tuple[str, ...], folds: int
) -> None:
    few = [name for c, name in enumerate(classes) if (truth[:, c] == 1).sum() < folds or not (targets[:, c] == 1).any()]
    if few:
        raise UserError(
            f"Too few images show {', '.join(few)}. Expected for every class at least {folds} for training, as many "
            "as folds, and 1 for testing."
        )


def _scaled(features: np.ndarray, normalize: bool) -> Float64[np.ndarray, "n d"]:
    double = features.astype(np.float64)
    return double / np.maximum(np.linalg.norm(double, axis=1, keepdims=True), 1e-12) if normalize else double


def _fit(
    features: Float64[np.ndarray, "n d"], shown: Bool[np.ndarray, "n"], config: Config, seed: int
) -> tuple["LinearSVC", bool]:
    """The machine of the best cost, and whether liblinear met its tolerance; of equally good costs the smallest."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import LinearSVC

    stopping.check()
    weight = {True: config.positive_weight, False: 1.0}
    machines = [
        LinearSVC(
            C=cost,
            class_weight=weight,
            dual=True,  # pyright: ignore[reportArgumentType]
            max_iter=config.max_iterations,
            random_state=seed,
        )
        for cost in config.costs
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = [
            cross_val_score(each, features, shown, cv=config.folds, scoring="average_precision").mean()
            for each in machines
        ]
        best = machines[int(np.argmax(fits))].fit(features, shown)
    return best, int(best.n_iter_) < config.max_iterations


def _precisions(
    scores: Float64[np.ndarray, "m c"], targets: Int8[np.ndarray, "m c"], points: int | None
) -> Float64[np.ndarray, "c"]:
    """Each class's average precision over the images for which it can be told; NaN where none of them shows it."""
    precisions = np.full(scores.shape[1], np.nan)
    for c in range(scores.shape[1]):
        is_known = targets[:, c] >= 0
        if (targets[is_known, c] == 1).any():
            precisions[c] = average_precision(scores[is_known, c], targets[is_known, c] == 1, points)
    return precisions
