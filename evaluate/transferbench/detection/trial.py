"""A trial: which detector is trained and tested on which data, and what a backend offers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.detection.model.load import Loaded
from transferbench.detection.recipe import DetectionRecipe
from transferbench.detection.scoring.results import Results

Watch = Callable[[int], None]
"""Told after each iteration how many are done."""
Curve = list[dict[str, Any]]
"""Lines of iteration, rate and losses."""


@dataclass(frozen=True)
class Trial:
    """A detector on a candidate's backbone, to be trained by a recipe that fits both on `train` and tried on `test`."""

    candidate: Candidate
    train: LabeledImages
    test: LabeledImages
    recipe: DetectionRecipe
    seed: int


@runtime_checkable
class Engine(Protocol):
    """One backend with one trial.

    `loaded` says that the detector holds the checkpoint; None where what it started from is gone, after a resume.
    """

    loaded: Loaded | None

    def train(self, watch: Watch) -> Curve:
        """Train to the recipe's end, from where it was stopped if it was; the learning curve."""
        ...

    def trained_weights(self) -> dict[str, Tensor]:
        """The detector's tensors as they are by now, by Detectron2's names."""
        ...

    def predict(self) -> Results:
        """What the detector, as it is by now, finds in the test split."""
        ...
