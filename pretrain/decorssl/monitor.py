"""Watching a backbone while it is trained; nothing here changes the training."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from decorssl import collapse, online_probe
from decorssl.collapse import Kind, Spectrum
from decorssl.loop import Step, Training
from decorssl.online_probe import OnlineProbe
from transferbench.data import LabeledImages
from transferbench.data.evaluation_views import evaluated
from transferbench.data.loading import in_order
from transferbench.data.subsets import labeled
from transferbench.features.extraction import evaluating
from transferbench.features.prepared import Prepared
from transferbench.features.spec import Precision, feature_spec
from transferbench.neighbors import search
from transferbench.tasks.knn import vote

K, TEMPERATURE = 20, 0.07
PROBE = 1024
PATIENCE = 3
"""Measurements in a row that must show collapse to be an alarm: a large learning rate can bring one that passes."""


class Monitor:
    """Weighted 20-NN accuracy on the test split every few epochs and after the last (docs/methods.md#monitoring).

    Without a `test` split it never measures.
    """

    def __init__(self, training: Training, test: LabeledImages | None, every: int) -> None:
        self.training, self.test, self.every = training, test, every

    def after(self, step: Step) -> float | None:
        """The accuracy in percent when an epoch that is due has just ended, else None."""
        if self.test is None or not _is_due(self.training, step, self.every):
            return None
        return accuracy(self.training, self.test)


class LinearMonitor:
    """Has the run's linear probe learn from every step, and measures it on the test split every few epochs.

    Without a probe among the run's companions it does nothing, and without a `test` split it never measures.
    """

    def __init__(self, training: Training, test: LabeledImages | None, every: int) -> None:
        self.training, self.test, self.every = training, test, every
        self.probe = training.companions.get(online_probe.NAME)

    def after(self, step: Step) -> float | None:
        """The accuracy in percent when an epoch that is due has just ended, else None."""
        if not isinstance(self.probe, OnlineProbe):
            return None
        self.probe.learn(step)
        if self.test is None or not _is_due(self.training, step, self.every):
            return None
        features = _features(self.training, self.test, _precision(self.training))
        return self.probe.accuracy(torch.from_numpy(features), torch.from_numpy(self.test.labels))


class Watch:
    """Spectra of the embedding and of the backbone's features, every few epochs and after the last.

    Always of the same training images, at most 1,024, without augmentation, in eval mode and float32.
    """

    def __init__(self, training: Training, every: int) -> None:
        self.training, self.every = training, every
        self.probe = probe(training)
        self.streak, self.alarmed = 0, set[Kind]()

    def after(self, step: Step) -> dict[str, Any] | None:
        """The line of spectra.jsonl when an epoch that is due has just ended and features are finite, else None.

        `alarm` holds what to tell, once for each kind of collapse, and is null otherwise.
        """
        if not _is_due(self.training, step, self.every):
            return None
        embedded, features = embeddings(self.training, self.probe)
        if not (np.isfinite(embedded).all() and np.isfinite(features).all()):
            return None
        embedding, backbone = collapse.spectrum(embedded, features.shape[1]), collapse.spectrum(features)
        alarm = self._alarm(embedding, step.index == self.training.total_steps)
        place = {"step": step.index, "epoch": step.epoch, "collapse": embedding.collapse, "alarm": alarm}
        return {**place, "embedding": embedding.line(), "backbone": backbone.line()}

    def _alarm(self, spectrum: Spectrum, is_last: bool) -> str | None:
        kind = spectrum.collapse
        self.streak = self.streak + 1 if kind != "none" else 0
        if kind in self.alarmed or not (self.streak >= PATIENCE or is_last):
            return None
        self.alarmed.add(kind)
        return collapse.alarm(spectrum)


def probe(training: Training) -> LabeledImages:
    """At most 1,024 of the training images, the same for every method and step."""
    chosen = np.random.default_rng([training.recipe.seed, 2]).permutation(len(training.images))[:PROBE]
    return training.images.subset(np.sort(chosen), "probe")


def accuracy(training: Training, test: LabeledImages) -> float:
    """Weighted 20-NN accuracy of the backbone in percent, with the labeled training images as neighbors."""
    train = labeled(training.images)
    near, seen = (_features(training, images, _precision(training)) for images in (train, test))
    neighbors = search(near, seen, K, "cosine", device=training.runtime.device)
    weights = np.exp((neighbors.values - neighbors.values[:, :1]) / TEMPERATURE)
    predicted = vote(train.labels[neighbors.indices], weights, len(train.info.classes))
    return 100 * float(np.mean(predicted == test.labels))


def embeddings(
    training: Training, images: LabeledImages
) -> tuple[Float32[np.ndarray, "n d"], Float32[np.ndarray, "n width"]]:
    """What projector and backbone make of images, without augmentation, in eval mode and float32."""
    features = _features(training, images, "float32")
    with evaluating(training.encoder.projector):
        parts = torch.from_numpy(features).to(training.runtime.device).split(256)
        embedded = [training.encoder.projector(part).cpu().numpy() for part in parts]
    return np.concatenate(embedded), features


def _is_due(training: Training, step: Step, every: int) -> bool:
    """Whether an epoch just ended that is the last or one of `every`; 0 is never."""
    epochs, within = divmod(step.index, training.steps_per_epoch)
    return bool(every) and not within and (epochs % every == 0 or epochs == training.recipe.epochs)


def _precision(training: Training) -> Precision:
    return "bfloat16" if training.recipe.precision == "bfloat16" else "float32"


def _features(training: Training, images: LabeledImages, precision: Precision) -> Float32[np.ndarray, "n d"]:
    backbone, device = training.encoder.judged, training.runtime.device
    stream = evaluated(images, training.recipe.preprocess, in_order(len(images), 256), training.workers)
    with evaluating(backbone):
        compute = Prepared(backbone, feature_spec(precision))
        parts = [compute(batch.views[0].to(device)).cpu().numpy() for batch in stream]
    return np.concatenate(parts)
