"""From a recipe to a trained detector: batches, optimizer, the loop, precise statistics, what ends it early."""

from transferbench.detection.training.loop import LINES, SAVED_EVERY, Ground, train

__all__ = [
    "LINES",
    "SAVED_EVERY",
    "Ground",
    "train",
]
