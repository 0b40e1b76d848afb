"""How far a run is, for losses with a schedule."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The step about to be made, of how many. Steps and epochs count from 0.

    Attributes:
        step: steps of the optimizer made so far, over all epochs.
        steps_per_epoch: batches in one pass over the images.
        epochs: passes over the images that the run will make.
    """

    step: int
    steps_per_epoch: int
    epochs: int

    @property
    def epoch(self) -> int:
        """Which pass over the images this step belongs to."""
        return self.step // self.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.epochs
