"""A linear classifier trained on augmented images over the frozen backbone."""

from typing import Any, ClassVar

from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.probing.cost import head_products
from transferbench.probing.fit import fit
from transferbench.probing.probe import FrozenProbe, Schedule
from transferbench.tasks import Bench, Dataset, JobCost, Outcome, trained

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


STEP: Any = {"epochs": 100, "batch_size": 256, "schedule": "step"}
BY_EPOCH: Any = {"epochs": 100, "batch_size": 256, "schedule": "cosine_by_epoch", "weight_decay": 1e-6}


class Config(FrozenProbe):
    """INTL's linear evaluation, without multi-crop. Presets and their sources: docs/protocols.md#linear.

    Their papers report the best epoch on the test images; `top1_best_epoch` is that.
    """

    PRESETS: ClassVar = {
        "intl": STEP | {"lr_head": 0.2},
        "intl_multicrop": STEP | {"lr_head": 0.4},
        "cwrgp": BY_EPOCH | {"batch_size": 1024, "lr_head": 0.1, "weight_decay": 0, "optimizer": "lars"},
        "moco": STEP | {"lr_head": 30},
        "simsiam": BY_EPOCH
        | {"epochs": 90, "batch_size": 4096, "lr_head": 0.1, "weight_decay": 0, "optimizer": "lars"},
        "barlow": BY_EPOCH | {"lr_head": 0.3},
        "vicreg": BY_EPOCH | {"lr_head": 0.02},
        "swav": BY_EPOCH | {"lr_head": 0.3},
        "simclr": {"epochs": 90, "batch_size": 256, "lr_head": 0.1, "schedule": "cosine"},
    }
    SOURCES: ClassVar = {
        "intl": "winci-ai/INTL evaluate.py, scripts/ep800.sh",
        "intl_multicrop": "winci-ai/INTL scripts/ep*_multi-crop_ema.sh",
        "cwrgp": "winci-ai/CW-RGP ImageNet/lincls.py, scripts/ImageNet.sh",
        "moco": "facebookresearch/moco main_lincls.py",
        "simsiam": "facebookresearch/simsiam main_lincls.py, README",
        "barlow": "facebookresearch/barlowtwins evaluate.py, README",
        "vicreg": "facebookresearch/vicreg evaluate.py, README",
        "swav": "facebookresearch/swav eval_linear.py",
        "simclr": "second-hand: lightly benchmarks/imagenet/resnet50/linear_eval.py",
    }

    epochs: int = Field(100, ge=1)
    schedule: Schedule = "step"


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    name = config.preset()
    return f"linear ({name})" if name else config.beside("linear")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Always: first weights, crops and order are drawn."""
    return True


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """Every epoch sees the training images anew."""
    return JobCost(
        ("test",),
        config.epochs * n_train,
        products=head_products(n_train, classes, config.epochs),
        batch=config.batch_size,
        reading=config,
    )


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy after the last epoch, and of the best epoch as the papers report it."""
    return trained(fit(candidate, dataset.train, dataset.test, config, seed, bench), dataset.test, bench)
