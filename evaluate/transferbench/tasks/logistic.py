"""Multinomial logistic regression on frozen features, by scikit-learn's objective."""

import numpy as np
import torch
from jaxtyping import Float64
from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.data.subsets import stratified
from transferbench.errors import UserError
from transferbench.features.extraction import FeatureSet
from transferbench.features.spec import LaterFeatureSpec
from transferbench.metrics import top_k_hits
from transferbench.probing.batched_heads import on_device
from transferbench.probing.cost import of_heads
from transferbench.probing.logistic_regression import Fit, Problem
from transferbench.records import Score
from transferbench.runtime import Runtime
from transferbench.tasks import Bench, Dataset, JobCost, Outcome, accuracy

VERSION = "2"
FROZEN = True
PRIMARY = "top1"


class Config(LaterFeatureSpec):
    """As in CW-RGP's small-set evaluation: un-normalized features, no augmentation.

    Source: docs/protocols.md#logistic.
    """

    C: float = Field(1.0, gt=0, description="inverse strength of the squared-norm penalty")
    choose_C: tuple[float, ...] = Field(  # noqa: N815
        (), description="values of C to choose from on a held-out tenth of each training class"
    )
    max_iterations: int = Field(1000, ge=1, description="maximum steps of L-BFGS")
    tolerance: float = Field(
        1e-4, gt=0, description="largest component of the mean loss's gradient at which the fit has converged"
    )


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return config.beside("logistic")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Which images choose among several C is drawn."""
    return len(set(config.choose_C)) > 1


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """A head on features of both splits."""
    return of_heads(config, n_train, classes)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy, top-5 where there are more than 5 classes, and whether the fit `converged` (1 or 0).

    Nothing is random but which images choose among several C.

    Raises:
        UserError: when the training images are of one class only.
    """
    train = bench.features(candidate, dataset.train, config)
    return judged(train, dataset, bench.features(candidate, dataset.test, config), config, seed, bench)


def judged(train: FeatureSet, dataset: Dataset, test: FeatureSet, config: Config, seed: int, bench: Bench) -> Outcome:
    """The outcome of a fit to some of the training images' features."""
    if len(np.unique(train.labels)) < 2:
        raise UserError(f"A classifier needs training images of at least 2 classes; {dataset.train.info.name} has 1.")
    C = chosen(train, config, seed, bench.runtime) if config.choose_C else config.C  # noqa: N806
    [fit] = path(train, [C], config, bench.runtime)
    logits = scored(fit, train, test.features, len(dataset.train.info.classes), bench.runtime)
    how = "val" if config.choose_C else "last"
    scores = [accuracy("top1", top_k_hits(logits, test.labels, 1), how)]
    if logits.shape[1] > 5:
        scores.append(accuracy("top5", top_k_hits(logits, test.labels, 5), how))
    scores.append(Score(metric="converged", value=float(fit.converged), unit="", n=len(test.labels)))
    if config.choose_C:
        scores.append(Score(metric="chosen_C", value=C, unit="", selected_by="val", n=len(train.labels), split="train"))
    kept = {"labels": test.labels, "predictions": logits.argmax(1)}
    return Outcome(tuple(scores), {"predictions": bench.keep("predictions.npz", kept)})


def chosen(train: FeatureSet, config: Config, seed: int, runtime: Runtime) -> float:
    """The C whose fit to nine tenths of the training images is best on the rest; of equal ones the smallest."""
    apart = stratified(train.labels, 0.1, seed)
    others = np.setdiff1d(np.arange(len(train.labels)), apart)
    part = FeatureSet(train.features[others], train.labels[others])
    if len(np.unique(part.labels)) < 2:
        raise UserError("Choosing C needs at least 2 classes with more than one training image.")
    strengths, classes = sorted(config.choose_C), int(train.labels.max()) + 1
    fits = path(part, strengths, config, runtime)
    logits = [scored(fit, part, train.features[apart], classes, runtime) for fit in fits]
    return strengths[int(np.argmax([top_k_hits(each, train.labels[apart], 1).sum() for each in logits]))]


def path(train: FeatureSet, strengths: list[float], config: Config, runtime: Runtime) -> list[Fit]:
    """A fit for each C, each started where the one before ended; the main process's, everywhere."""
    _, labels = np.unique(train.labels, return_inverse=True)
    problem = Problem.of(on_device(train.features, runtime), torch.from_numpy(labels).to(runtime.device))
    return runtime.gather_objects(problem.path(strengths, config.tolerance, config.max_iterations))[0]


def scored(
    fit: Fit, train: FeatureSet, features: np.ndarray, classes: int, runtime: Runtime
) -> Float64[np.ndarray, "n c"]:
    """Scores of all classes; a class without training images gets the lowest there is."""
    computed = fit.logits(on_device(features, runtime)).cpu().numpy()
    logits = np.full((len(features), classes), np.finfo(np.float64).min)
    logits[:, np.unique(train.labels)] = computed
    return logits
