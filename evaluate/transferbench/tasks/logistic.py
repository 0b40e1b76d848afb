"""Multinomial logistic regression on frozen features, fitted by scikit-learn's L-BFGS."""

import warnings

import numpy as np
from jaxtyping import Float64
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from transferbench.checkpoints import Candidate
from transferbench.errors import UserError
from transferbench.features import FeatureSet, Precision
from transferbench.metrics import top_k_hits
from transferbench.records import Score
from transferbench.settings import Settings
from transferbench.tasks import Bench, Dataset, Outcome, accuracy

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


class Config(Settings):
    """As in CW-RGP's small-set evaluation: un-normalised features, no augmentation (spec 2.3, [code])."""

    C: float = Field(1.0, gt=0, description="inverse strength of the squared-norm penalty")
    max_iterations: int = Field(1000, ge=1)
    tolerance: float = Field(1e-4, gt=0, description="largest gradient component at which the fit has converged")
    precision: Precision = Field("float32", description="what the backbone computes in")


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return "logistic"


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy, top-5 where there are more than 5 classes, and whether the fit `converged` (1 or 0). Nothing is random.

    Raises:
        UserError: when the training images are of one class only.
    """
    train = bench.features(candidate, dataset.train, config.precision)
    test = bench.features(candidate, dataset.test, config.precision)
    if len(np.unique(train.labels)) < 2:
        raise UserError(f"A classifier needs training images of at least 2 classes; {dataset.train.info.name} has 1.")
    model, converged = _fit(train, config)
    logits = _logits(model, test, len(dataset.train.info.classes))
    scores = [accuracy("top1", top_k_hits(logits, test.labels, 1))]
    if logits.shape[1] > 5:
        scores.append(accuracy("top5", top_k_hits(logits, test.labels, 5)))
    scores.append(Score(metric="converged", value=float(converged), unit="", n=len(test.labels)))
    kept = {"labels": test.labels, "predictions": logits.argmax(1)}
    return Outcome(tuple(scores), {"predictions": bench.keep("predictions.npz", kept)})


def _fit(train: FeatureSet, config: Config) -> tuple[LogisticRegression, bool]:
    """The fitted model, and whether L-BFGS met its tolerance within the allowed iterations."""
    model = LogisticRegression(C=config.C, tol=config.tolerance, max_iter=config.max_iterations)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(train.features.astype(np.float64), train.labels)
    return model, not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _logits(model: LogisticRegression, test: FeatureSet, classes: int) -> Float64[np.ndarray, "n c"]:
    """Scores of all classes; a class without training images gets the lowest there is."""
    found = model.decision_function(test.features.astype(np.float64))
    if found.ndim == 1:
        found = np.stack([-found, found], 1)
    logits = np.full((len(test.labels), classes), np.finfo(np.float64).min)
    logits[:, model.classes_] = found
    return logits
