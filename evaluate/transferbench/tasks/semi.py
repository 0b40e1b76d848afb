"""Fine-tuning: backbone and classifier trained together on a part of the labels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.subsets import SPLITS, leaves_out, named, stratified
from transferbench.features.spec import feature_spec
from transferbench.probing.fit import fit
from transferbench.probing.probe import Schedule, Tuning
from transferbench.tasks import Bench, Dataset, JobCost, Outcome, trained

VERSION = "1"
FROZEN = False
PRIMARY = "top1"


class Config(Tuning):
    """INTL's semi-supervised evaluation with the usual cosine; percent=100 is full fine-tuning.

    Presets and their sources: docs/protocols.md#semi. INTL's own script runs at a constant rate, and 0.006 for
    `intl_nomulticrop`. VICReg and SwAV have other rates for 1 % than for 10 %, and none for other shares.
    """

    PRESETS: ClassVar = {
        "intl": {0: {"lr_head": 0.2, "lr_backbone": 0.004, "schedule": "constant"}},
        "intl_nomulticrop": {0: {"lr_head": 0.2, "lr_backbone": 0.006, "schedule": "constant"}},
        "barlow": {0: {"lr_head": 0.5, "lr_backbone": 0.005, "schedule": "cosine_by_epoch"}},
        "vicreg": {
            1: {"lr_head": 0.08, "lr_backbone": 0.03, "schedule": "cosine_by_epoch"},
            10: {"lr_head": 0.1, "lr_backbone": 0.01, "schedule": "cosine_by_epoch"},
        },
        "swav": {
            1: {"lr_head": 5, "lr_backbone": 0.02, "schedule": "step", "decay_by": 0.2},
            10: {"lr_head": 0.2, "lr_backbone": 0.01, "schedule": "step", "decay_by": 0.2},
        },
    }

    SOURCES: ClassVar = {
        "intl": "winci-ai/INTL scripts/ep*_multi-crop_ema.sh",
        "intl_nomulticrop": "winci-ai/INTL scripts/ep800.sh",
        "barlow": "facebookresearch/barlowtwins README; #14 for 10 %",
        "vicreg": "facebookresearch/vicreg README, evaluate.py",
        "swav": "facebookresearch/swav eval_semisup.py, README",
    }

    percent: int = Field(10, ge=1, le=100, description="share of the training labels, drawn within each class")
    epochs: int = Field(20, ge=1)
    schedule: Schedule = "cosine"
    lr_backbone: float = Field(0.004, gt=0)

    @classmethod
    def preset_values(cls, name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values of a preset for the given percentage; 0 stands for any."""
        by_percent = cls.PRESETS[name]
        percent = int(given.get("percent", cls.model_fields["percent"].default))
        if percent not in by_percent and 0 not in by_percent:
            raise ValueError(f"preset {name} is for percent {' and '.join(map(str, by_percent))}, found {percent}")
        return {"epochs": 20, "batch_size": 256, **by_percent[percent if percent in by_percent else 0]}

    @classmethod
    def preset_cases(cls, name: str) -> list[dict[str, Any]]:
        """The percentages that a preset is for; any where it says so."""
        return [{"percent": percent} if percent else {} for percent in cls.PRESETS[name]]

    @classmethod
    def preset_depends_on(cls) -> set[str]:
        """The percentage."""
        return {"percent"}


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    name = config.preset()
    return f"{config.percent} % ({name})" if name else f"{config.percent} %"


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Always: labels, first weights, crops and order are drawn."""
    return True


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """Every epoch trains on the part and tests on all."""
    part = round(n_train * config.percent / 100)
    reading = feature_spec(config.precision)
    return JobCost((), config.epochs * n_test, config.epochs * part, batch=config.batch_size, reading=reading)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy after the last epoch, and of the best epoch as the papers report it."""
    train = labeled(dataset.train, config.percent, seed)
    outcome = trained(fit(candidate, train, dataset.test, config, seed, bench), dataset.test, bench)
    return replace(outcome, images={"": len(train)})


def labeled(train: LabeledImages, percent: int, seed: int) -> LabeledImages:
    """The training images whose labels may be seen.

    The published list where there is one for this data set and percentage (ImageNet 1 and 10), else a part of every
    class drawn by `seed`. Source: docs/protocols.md#label-subsets.
    """
    if percent == 100:
        return train
    listing = _listing(train, percent)
    if listing.exists():
        return named(train, listing)
    return train.subset(stratified(train.labels, percent / 100, seed), f"{percent} % of the labels, seed {seed}")


def is_drawn(train: LabeledImages, percent: int) -> bool:
    """Whether the seed decides which labels may be seen: not where there is a list, or nothing is left out."""
    return not _listing(train, percent).exists() and leaves_out(train.labels, fraction=percent / 100)


def _listing(train: LabeledImages, percent: int) -> Path:
    return SPLITS / f"{train.info.name}_{percent}percent.txt"
