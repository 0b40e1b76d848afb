"""Watching a backbone while it is trained."""

import numpy as np
from jaxtyping import Float32

from decorssl.loop import Step, Training
from transferbench.data import LabelledImages
from transferbench.data.loading import batches, in_order
from transferbench.data.subsets import labelled
from transferbench.data.transforms import evaluation
from transferbench.features import evaluating, forward
from transferbench.neighbours import search
from transferbench.tasks.knn import vote

K, TEMPERATURE = 20, 0.07


class Monitor:
    """Weighted 20-NN accuracy on the test split (spec 2.6, [code]) every few epochs and after the last.

    Without a `test` split it never measures.
    """

    def __init__(self, training: Training, test: LabelledImages | None, every: int) -> None:
        self.training, self.test, self.every = training, test, every

    def after(self, step: Step) -> float | None:
        """The accuracy in per cent when an epoch that is due has just ended, else None."""
        epochs, within = divmod(step.index, self.training.steps_per_epoch)
        due = (
            not within and (epochs % self.every == 0 or epochs == self.training.recipe.epochs) if self.every else False
        )
        if self.test is None or not due:
            return None
        return self._accuracy(labelled(self.training.images), self.test)

    def _accuracy(self, train: LabelledImages, test: LabelledImages) -> float:
        found = search(self._features(train), self._features(test), K, "cosine", device=self.training.runtime.device)
        weights = np.exp((found.values - found.values[:, :1]) / TEMPERATURE)
        predicted = vote(train.labels[found.indices], weights, len(train.info.classes))
        return 100 * float(np.mean(predicted == test.labels))

    def _features(self, images: LabelledImages) -> Float32[np.ndarray, "n d"]:
        training, recipe = self.training, self.training.recipe
        backbone, device = training.encoder.backbone, training.runtime.device
        plans = in_order(len(images), 256)
        stream = batches(images, evaluation(recipe.preprocess), plans, workers=training.workers)
        precision = "bfloat16" if recipe.precision == "bfloat16" else "float32"
        with evaluating(backbone):
            parts = [forward(backbone, batch.views[0].to(device), precision).cpu().numpy() for batch in stream]
        return np.concatenate(parts)
