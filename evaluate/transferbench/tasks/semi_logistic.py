"""Logistic regression on frozen features of a part of the labels, 1 % by default."""

from dataclasses import replace

from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.tasks import Bench, Dataset, JobCost, Outcome, logistic, semi

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


class Config(logistic.Config):
    """`logistic` on the labels that `semi` sees: the published list, or a part of each class drawn by the seed.

    Whose protocol it is not: docs/protocols.md#semi-logistic.
    """

    percent: int = Field(1, ge=1, le=100, description="share of the training labels")


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return config.beside(f"logistic {config.percent} %")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """As for `logistic`, and where the labels are drawn."""
    return logistic.depends_on_seed(config, dataset) or semi.is_drawn(dataset.train, config.percent)


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """As if all labels were seen."""
    return logistic.cost(config, n_train, n_test, classes)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """As `logistic`.

    Raises:
        UserError: when the labels are of one class only.
    """
    train = bench.features(candidate, semi.labeled(dataset.train, config.percent, seed), config)
    test = bench.features(candidate, dataset.test, config)
    outcome = logistic.judged(train, dataset, test, config, seed, bench)
    return replace(outcome, images={"": len(train.labels)})
