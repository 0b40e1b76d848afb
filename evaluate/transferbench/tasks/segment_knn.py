"""Segmentation without training: each patch takes the classes of its nearest neighbors among training patches."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.label_maps import LabelRule
from transferbench.errors import UserError
from transferbench.segmentation import patch_cost, pictures
from transferbench.segmentation.dense_features import DenseFeatures, reading_of
from transferbench.segmentation.dilation import why_undilated
from transferbench.segmentation.examples import named_for
from transferbench.segmentation.kept_patches import Grain, Shown, kept
from transferbench.segmentation.knn_recipe import KnnRecipe
from transferbench.segmentation.matching import counts_of, matched
from transferbench.segmentation.patch_choice import Maps, pairs, tried
from transferbench.segmentation.patch_memory import Place, remembered, shared_folder
from transferbench.segmentation.patch_predictions import Law, Predictor
from transferbench.segmentation.patch_views import Views
from transferbench.segmentation.scoring import by_class, segmentation_scores
from transferbench.tasks import Bench, Dataset, JobCost, Outcome

VERSION = "1"
FROZEN = True
PRIMARY = "miou"
LABELS = ("label maps",)


class Config(KnnRecipe):
    """Patches remembered, neighbors found exactly, and how these vote."""


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    usual = Config.model_validate({})
    changed = [name for name in Config.model_fields if getattr(config, name) != getattr(usual, name)]
    said = config.preset() or ", ".join(f"{name}={getattr(config, name)}" for name in changed)
    return f"segment-knn ({said})" if said else "segment-knn"


def unfit(candidate: Candidate, dataset: Dataset, config: Config) -> str | None:
    """Why it cannot be asked of the candidate; None when it can."""
    if len(config.choices) > 1 and len(dataset.train) < 2:
        return "Choosing k or the metric holds a training image out, and there is one: set one of `ks` and `metrics`."
    architecture = candidate.card.architecture
    if architecture.family == "open_clip":
        return f"{architecture.name} gives one vector an image. Expected a backbone with patch tokens or stages."
    return why_undilated(architecture.family, architecture.arguments) if config.dilated else None


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Where images are held out or augmented, or patches drawn."""
    return len(config.choices) > 1 or config.augmented_passes > 0 or config.memory_patches is not None


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """Images that pass the backbone."""
    held_out = len(config.parted(n_train, 0)[1])
    return JobCost((), n_train * max(1, config.augmented_passes) + held_out + n_test, reading=reading_of(config))


def forecast(candidate: Candidate, dataset: Dataset, config: Config, bench: Bench) -> tuple[float, int]:
    """Seconds that `run` takes here, and bytes: all that is remembered, also on disk, and what searching it needs."""
    dataset = named_for(dataset, config)
    views, dense = _views(candidate, dataset, config, 0, bench)
    searching = len(config.parted(len(dataset.train), 0)[1]) * len(config.metrics) + len(dataset.test)
    images = cost(config, len(dataset.train), len(dataset.test), 0).passes
    place = Place(bench.runtime, bench.scratch, bench.workers)
    return patch_cost.forecast(dense, views, config, (images, searching, max(config.ks)), place)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Remember training patches, choose by images held out where there is a choice, and judge on the test images."""
    if reason := unfit(candidate, dataset, config):
        raise UserError(reason)
    dataset = named_for(dataset, config)
    views, dense = _views(candidate, dataset, config, seed, bench)
    taught, held_out = config.parted(len(dataset.train), seed)
    shown = Shown.of(config.augmented_passes, taught, held_out)
    found = kept(views, shown, config, Grain.of(dense, views, bench.runtime.device), bench.runtime)
    law = Law(config.coding(views), config.temperature if config.vote == "shares" else None, config.scored_at)
    shown_of_test = np.linspace(0, len(dataset.test) - 1, min(pictures.SHOWN, len(dataset.test))).astype(int)
    drawn: dict[int, Maps | None] = dict.fromkeys(shown_of_test.tolist())
    with shared_folder(bench.cache, bench.runtime) as folder:
        place = Place(bench.runtime, folder, bench.workers, bench.report)
        memory, scale = remembered(dense, views, shown, found, config.standardize, place)
        predictor = Predictor(dense, found.grain, memory, scale, law)
        part = predictor.among(int(found.starts[shown.first]))
        trials = tried(part, views.of(dataset.train), held_out, (config, config), place)
        best = max(trials, key=lambda each: each.miou, default=None)
        choice = (best.k, best.metric) if best else config.choices[0]
        (images,) = pairs(predictor, views.of(dataset.test), np.arange(len(dataset.test)), [choice], place, drawn)
    size = law.coding.size
    stands_for = matched(images, size) if config.matched else np.arange(size)
    counts = counts_of(images, stands_for)
    names = (*dataset.train.info.classes, "uncounted")[:size]
    written = {
        "classes.json": json.dumps(by_class(counts, names), indent=2) + "\n",
        "choice.json": json.dumps([asdict(each) for each in trials], indent=2) + "\n",
        "pictures.png": _pictures(dataset.test, drawn, stands_for, names),
        "counts.npz": dict(vars(counts)),
    }
    chosen_by = {"selected_by": "val" if trials else "last"}
    scores = segmentation_scores(counts, config.absent, config.averaged)
    return Outcome(
        tuple(score.model_copy(update=chosen_by) for score in scores),
        {name.partition(".")[0]: bench.keep(name, each) for name, each in written.items()},
    )


def _pictures(
    test: LabeledImages, drawn: Mapping[int, Maps | None], stands_for: np.ndarray, names: Sequence[str]
) -> bytes:
    """The sheet of the images whose maps were kept, each class shown as the one that it stands for."""
    kept_maps = [(index, *maps) for index, maps in sorted(drawn.items()) if maps is not None]
    images = [test.image(index) for index, _, _ in kept_maps]
    return pictures.sheet(
        images, [truth for _, truth, _ in kept_maps], [stands_for[each] for *_, each in kept_maps], names
    )


def _views(
    candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench
) -> tuple[Views, DenseFeatures]:
    """The training images as they are shown, and the backbone that they are shown to."""
    dense = DenseFeatures(candidate.backbone.to(bench.runtime.device), config)
    rule = LabelRule(ignore_index=config.ignore_index, reduce_labels=config.reduce_labels)
    return Views(
        dataset.train, config, rule, candidate.card.preprocess, dense.side, config.augmented_passes > 0, seed
    ), dense
