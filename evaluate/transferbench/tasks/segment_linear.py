"""A linear layer on the patch tokens or stage maps of a frozen backbone gives each pixel its class; mean IoU."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.records import Score
from transferbench.segmentation import dilation, pictures
from transferbench.segmentation.batched_heads import Heads
from transferbench.segmentation.dense_features import reading_of
from transferbench.segmentation.examples import named_for
from transferbench.segmentation.linear_fit import Trained, pace, train
from transferbench.segmentation.linear_recipe import LinearRecipe
from transferbench.segmentation.scoring import PixelCounts, by_class, segmentation_scores
from transferbench.segmentation.segmenter import Segmenter
from transferbench.tasks import Bench, Dataset, JobCost, Outcome

VERSION = "1"
FROZEN = True
PRIMARY = "miou"
LABELS = ("label maps",)

TOLD = (
    "resolution",
    "crop",
    "resize_masks",
    "scored_at",
    "ignore_index",
    "reduce_labels",
    "absent",
    "averaged",
    "inference",
)
"""Settings that the label tells where they are not usual: they are what published numbers differ by in silence."""


class Config(LinearRecipe):
    """A linear head, batch normalized features below it; several learning rates in one pass of the backbone."""


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    usual = Config.model_validate({})
    named = config.preset()
    if named is None:
        differs = [f"{name}={getattr(config, name)}" for name in TOLD if getattr(config, name) != getattr(usual, name)]
        named = ", ".join(filter(None, [config.taken(), *differs]))
    return f"segment-linear ({named})" if named else "segment-linear"


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Always: first weights, crops, order and held-out images are drawn."""
    return True


def unfit(candidate: Candidate, dataset: Dataset, config: Config) -> str | None:
    """Why the backbone has no maps to be read so, or why there are too few images."""
    architecture = candidate.card.architecture
    if architecture.family == "open_clip":
        return f"{architecture.name} gives one vector an image. Expected a backbone with patch tokens or stages."
    if len(config.lrs) > 1 and len(dataset.train) < 2:
        return "One training image leaves none to choose a learning rate by. Name one, lrs=[0.001], or add images."
    return dilation.why_undilated(architecture.family, architecture.arguments) if config.dilated else None


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """Training crops, and each view of the images that are held out or judged; heads work on places of features."""
    looks = len(config.scales) * (2 if config.flips else 1)
    trained = config.iterations * config.batch_size * (2 if _refits(config) else 1)
    held = _held_out_count(config, n_train)
    products = 3 * trained * classes * len(config.lrs)
    passes = trained + looks * (n_test + held)
    return JobCost((), passes, products=products, batch=config.batch_size, reading=reading_of(config))


def forecast(candidate: Candidate, dataset: Dataset, config: Config, bench: Bench) -> tuple[float, int]:
    """Seconds and bytes that `run` takes, from two batches of two images and one image judged."""
    config, dataset = _sized(config, candidate, dataset), named_for(dataset, config)
    segmenter = Segmenter.of(candidate, config, bench)
    seconds, judge, held = pace(segmenter, dataset.train)
    trained = config.iterations * config.batch_size * (2 if _refits(config) else 1)
    judged = len(dataset.test) + len(config.lrs) * _held_out_count(config, len(dataset.train))
    return (trained * seconds + judged * judge) / bench.runtime.world_size, held


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Mean IoU of the head whose rate held-out training images chose, of the only one where there is one.

    `chosen_lr` says which, the artifact `grid` how each rate did on them, `counts` the pixels of every test image.
    """
    config, dataset = _sized(config, candidate, dataset), named_for(dataset, config)
    segmenter = Segmenter.of(candidate, config, bench)
    apart = held_out(len(dataset.train), _held_out_count(config, len(dataset.train)), seed)
    rest = np.setdiff1d(np.arange(len(dataset.train)), apart)
    seen = dataset.train.subset(rest, f"without the held out of seed {seed}") if len(apart) else dataset.train
    trained = train(segmenter, seen, config, seed, "heads")
    table = _table(segmenter, trained, dataset.train.subset(apart, f"held out by seed {seed}"))
    best = int(np.argmax([-1.0 if mean is None else mean for mean in table]))
    rate, chosen = float(config.lrs[best]), trained.heads.only(best)
    if _refits(config):
        alone = config.model_copy(update={"lrs": (rate,)})
        chosen = train(segmenter, dataset.train, alone, seed, "refit").heads
    counts = segmenter.counts(chosen, dataset.test, "test")[0]
    by = "val" if len(config.lrs) > 1 else "last"
    scores = [each.model_copy(update={"selected_by": by}) for each in _scores(counts, config)]
    scores.append(Score(metric="chosen_lr", value=rate, unit="", selected_by=by, n=max(1, len(apart)), split="train"))
    kept = _kept(bench, segmenter, chosen, counts, dataset.test)
    grid = [{"lr": lr, "held_out_miou": mean} for lr, mean in zip(config.lrs, table, strict=True)]
    curve = [{"iteration": at, **_losses(config, losses)} for at, losses in trained.curve]
    shown = {"grid": bench.keep("grid.jsonl", _lines(grid)), "curve": bench.keep("curve.jsonl", _lines(curve))}
    return Outcome(tuple(scores), kept | shown)


def _sized(config: Config, candidate: Candidate, dataset: Dataset) -> Config:
    """The settings with the resolution that they have on these data."""
    side = config.resolution_on(dataset.train.info, candidate.card.preprocess)
    return config.model_copy(update={"resolution": side})


def _kept(
    bench: Bench, segmenter: Segmenter, chosen: Heads, counts: PixelCounts, test: LabeledImages
) -> dict[str, Path]:
    """The artifacts of counted pixels: by class, and by image and class."""
    return {
        "classes": bench.keep("classes.json", json.dumps(by_class(counts, test.info.classes), indent=2) + "\n"),
        "counts": bench.keep("counts.npz", dict(vars(counts))),
        "pictures": bench.keep("pictures.png", _pictures(segmenter, chosen, test)),
    }


def _pictures(segmenter: Segmenter, heads: Heads, test: LabeledImages) -> bytes:
    """Some test images with their true and predicted classes, as they are judged."""
    at = np.linspace(0, len(test) - 1, min(pictures.SHOWN, len(test))).astype(int).tolist()
    pairs = [next(segmenter.judged(heads, test, index)) for index in at]
    truths, predictions = zip(*pairs, strict=True)
    return pictures.sheet([test.image(index) for index in at], truths, predictions, test.info.classes)


def _losses(config: Config, losses: Sequence[float]) -> dict[str, float | None]:
    """By learning rate; None for one that is not finite."""
    return {
        f"loss at {lr:g}": each if math.isfinite(each) else None for lr, each in zip(config.lrs, losses, strict=True)
    }


def held_out(n: int, count: int, seed: int) -> np.ndarray:
    """Sorted positions of so many of the training images, drawn by the seed."""
    return np.sort(np.random.default_rng([seed, 2]).permutation(n)[:count])


def _held_out_count(config: Config, n: int) -> int:
    return min(n - 1, max(1, round(config.held_out * n))) if len(config.lrs) > 1 else 0


def _refits(config: Config) -> bool:
    return config.refit and len(config.lrs) > 1


def _table(segmenter: Segmenter, trained: Trained, apart: LabeledImages) -> list[float | None]:
    """Each rate's mean IoU on the images that are held out, percent; None of one that diverged, or without a choice."""
    if not len(apart):
        return [None]
    counts = segmenter.counts(trained.heads, apart, "held_out")
    means = [_scores(each, segmenter.recipe)[0].value for each in counts]
    return [mean if is_finite else None for mean, is_finite in zip(means, trained.heads.finite(), strict=True)]


def _scores(counts: PixelCounts, config: LinearRecipe) -> list[Score]:
    return segmentation_scores(counts, config.absent, config.averaged)


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
