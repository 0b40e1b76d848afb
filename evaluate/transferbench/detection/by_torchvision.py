"""The backend that is always there: our own detector, on torchvision's operators."""

from dataclasses import replace
from typing import cast

from torch import Tensor

from transferbench.backbones import COUNTER, Backbone
from transferbench.detection.model.detector import build
from transferbench.detection.model.load import Loaded, load_backbone
from transferbench.detection.model.names import to_detectron2
from transferbench.detection.scoring import results
from transferbench.detection.targets import views
from transferbench.detection.training import loop
from transferbench.detection.training.loop import Ground
from transferbench.detection.trial import Curve, Trial, Watch


class TorchvisionEngine:
    """See `trial.Engine`."""

    def __init__(self, trial: Trial, ground: Ground) -> None:
        self.trial, self.ground = trial, ground
        recipe, device = trial.recipe, ground.runtime.device
        backbone = cast(Backbone, trial.candidate.backbone).to(device)
        self.detector = build(recipe, backbone, len(trial.train.info.classes), trial.seed).to(device)
        seen = views.sample(trial.train, 0, recipe.INPUT.MIN_SIZE_TEST, recipe.INPUT.MAX_SIZE_TEST)
        self.loaded: Loaded | None = load_backbone(self.detector, backbone.state_dict(), backbone, seen.pixels)

    def train(self, watch: Watch) -> Curve:
        """Train in place."""
        trial = self.trial
        return loop.train(self.detector, trial.train, trial.recipe, trial.seed, replace(self.ground, watch=watch))

    def trained_weights(self) -> dict[str, Tensor]:
        """See `trial.Engine`; without counters of steps."""
        held = {name: each for name, each in self.detector.state_dict().items() if not name.endswith(COUNTER)}
        names = to_detectron2(held)
        return {names[name]: each for name, each in held.items()}

    def predict(self) -> results.Results:
        """See `results.predict`."""
        return results.predict(self.detector, self.trial.test, self.trial.recipe, self.ground.runtime)
