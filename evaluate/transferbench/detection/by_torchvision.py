"""The backend that is always there: our own detector, on torchvision's operators."""

from dataclasses import replace
from typing import cast

from transferbench.backbones import Backbone
from transferbench.detection import results, training
from transferbench.detection.detector import build
from transferbench.detection.training import Ground
from transferbench.detection.trial import Curve, Trial, Watch


class Engine:
    """See `trial.Engine`."""

    def __init__(self, trial: Trial, ground: Ground) -> None:
        self.trial, self.ground = trial, ground
        backbone, classes = cast(Backbone, trial.candidate.backbone), len(trial.train.info.classes)
        self.detector = build(trial.recipe, backbone, classes, trial.seed)

    def train(self, watch: Watch) -> Curve:
        """Train in place."""
        trial = self.trial
        return training.train(self.detector, trial.train, trial.recipe, trial.seed, replace(self.ground, watch=watch))

    def found(self) -> results.Results:
        """See `results.found`."""
        return results.found(self.detector, self.trial.test, self.trial.recipe, self.ground.runtime)
