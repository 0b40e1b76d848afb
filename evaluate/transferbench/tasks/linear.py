"""A linear classifier trained on augmented images over the frozen backbone."""

from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.fit import fit
from transferbench.probe import Probe, Schedule
from transferbench.tasks import Bench, Dataset, Outcome, trained

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


class Config(Probe):
    """INTL's linear evaluation (spec 2.1, [code]): lr_head 0.2, or 0.4 for multi-crop checkpoints."""

    epochs: int = Field(100, ge=1)
    schedule: Schedule = "step"


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return "linear"


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy after the last epoch, and of the best epoch as the papers report it."""
    return trained(fit(candidate, dataset.train, dataset.test, config, seed, bench), dataset.test, bench)
