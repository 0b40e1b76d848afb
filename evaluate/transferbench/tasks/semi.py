"""Backbone and classifier tuned together on a part of the labels."""

from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.data import LabelledImages
from transferbench.data.subsets import SPLITS, named, stratified
from transferbench.fit import fit
from transferbench.probe import Schedule, Tuning
from transferbench.tasks import Bench, Dataset, Outcome, trained

VERSION = "1"
FROZEN = False
PRIMARY = "top1"


class Config(Tuning):
    """INTL's semi-supervised evaluation with the usual cosine (spec 2.5, [code]).

    INTL's own script runs at a constant rate: `schedule=constant`.
    """

    percent: int = Field(10, ge=1, le=100, description="share of the training labels, drawn class by class")
    epochs: int = Field(20, ge=1)
    schedule: Schedule = "cosine"
    lr_backbone: float = Field(0.004, gt=0)


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return f"{config.percent} %"


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy after the last epoch, and of the best epoch as the papers report it."""
    train = labelled(dataset.train, config.percent, seed)
    return trained(fit(candidate, train, dataset.test, config, seed, bench), dataset.test, bench)


def labelled(train: LabelledImages, percent: int, seed: int) -> LabelledImages:
    """The training images whose labels may be seen.

    The published list where there is one for this data set and percentage (ImageNet 1 and 10, spec 2.5, [ver]), else a
    part of every class drawn by `seed`.
    """
    if percent == 100:
        return train
    listing = SPLITS / f"{train.info.name}_{percent}percent.txt"
    if listing.exists():
        return named(train, listing)
    return train.subset(stratified(train.labels, percent / 100, seed), f"{percent} % of the labels, seed {seed}")
