"""`linear` on cached features of a few random crops of each image: minutes, and a close lower bound of it."""

from typing import ClassVar

from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.probing.batched_heads import HeadInputs, fit, sgd
from transferbench.probing.cached_crops import passes
from transferbench.probing.cost import head_products
from transferbench.tasks import Bench, Dataset, JobCost, Outcome, linear, trained

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


class Config(linear.Config):
    """As `linear`, with its presets; epoch e sees crops e modulo `crops` (docs/protocols.md#linear-fast)."""

    PRESETS: ClassVar = linear.Config.PRESETS
    SOURCES: ClassVar = linear.Config.SOURCES

    crops: int = Field(4, ge=1, description="random crops of each image; with as many as epochs it is `linear` itself")


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    name = config.preset()
    return f"linear-fast ({name})" if name else config.beside("linear-fast")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Always: first weights, crops and order are drawn."""
    return True


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """A few crops of every training image, and the head on their features."""
    views = min(config.crops, config.epochs) * n_train
    products = head_products(n_train, classes, config.epochs)
    return JobCost(("test",), views, products=products, views=views, reading=config)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy after the last epoch, and of the best epoch as the papers report it."""
    crops = passes(candidate, dataset.train, min(config.crops, config.epochs), config, seed, bench)
    inputs = HeadInputs.of(crops, dataset.train.labels, len(dataset.train.info.classes), bench.runtime)
    test = bench.features(candidate, dataset.test, config)
    setting = (config.lr_head * config.batch_size / 256, config.weight_decay)
    return trained(fit(inputs, test, setting, sgd(config), seed, bench), dataset.test, bench)
