"""A linear classifier trained by Adam on features without augmentation: the whitening papers' small-set probe."""

from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.features.spec import LaterFeatureSpec
from transferbench.probing.batched_heads import HeadInputs, Rule, fit
from transferbench.probing.cost import of_heads
from transferbench.tasks import Bench, Dataset, JobCost, Outcome, trained

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


class Config(LaterFeatureSpec):
    """As in INTL's and CW-RGP's small-set evaluation: un-normalized features.

    Theirs leaves out what 1000 does not divide; here the last batch of an epoch is smaller instead, and weights start
    as in `linear`. Source: docs/protocols.md#linear-small.
    """

    epochs: int = Field(500, ge=1, description="passes over the training features")
    batch_size: int = Field(1000, ge=1, description="images per step, over all processes")
    lr: float = Field(1e-2, gt=0, description="Adam's learning rate in the first epoch, not scaled with the batch")
    lr_end: float = Field(1e-6, gt=0, description="final learning rate, reached by an equal factor each epoch")
    weight_decay: float = Field(5e-6, ge=0, description="added to the gradient")


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return config.beside("linear-small")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Always: first weights and order are drawn."""
    return True


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """A head on features of both splits."""
    return of_heads(config, n_train, classes, config.epochs)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy after the last epoch, as published, and of the best epoch."""
    train = bench.features(candidate, dataset.train, config)
    test = bench.features(candidate, dataset.test, config)
    inputs = HeadInputs.of([train.features], train.labels, len(dataset.train.info.classes), bench.runtime)
    return trained(fit(inputs, test, (config.lr, config.weight_decay), rule(config), seed, bench), dataset.test, bench)


def rule(config: Config) -> Rule:
    """Adam with a rate that falls by an equal factor each epoch."""
    fall = (config.lr_end / config.lr) ** (1 / config.epochs)
    return Rule("adam", config.epochs, config.batch_size, lambda epoch, step, steps: fall**epoch)
