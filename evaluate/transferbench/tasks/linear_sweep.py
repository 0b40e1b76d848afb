"""`linear-fast` with many learning rates and weight decays at once; held-out training images choose one."""

import json
from itertools import product

import numpy as np
import torch
from jaxtyping import Int64
from pydantic import Field

from transferbench.checkpoints import Candidate
from transferbench.data.subsets import stratified
from transferbench.features.extraction import FeatureSet
from transferbench.metrics import top_k_hits
from transferbench.probing.batched_heads import BatchedHeads, HeadInputs, Setting, on_device, sgd
from transferbench.probing.cached_crops import passes
from transferbench.probing.cost import BOTH, head_products
from transferbench.probing.probe import FrozenProbe, Schedule
from transferbench.records import Score
from transferbench.tasks import Bench, Dataset, JobCost, Outcome, accuracy

VERSION = "1"
FROZEN = True
PRIMARY = "top1"


class Config(FrozenProbe):
    """A grid of rates, after DINOv2's evaluation, and of weight decays.

    `lr_head` and `weight_decay` are not used. The test images have no part in the choice. What DINOv2 does
    otherwise: docs/protocols.md#linear-sweep.
    """

    epochs: int = Field(100, ge=1)
    schedule: Schedule = "cosine"
    lrs: tuple[float, ...] = Field(
        (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100), min_length=1, description="for 256 images"
    )
    weight_decays: tuple[float, ...] = Field(
        (0, 1e-6, 1e-5, 1e-4, 1e-3), min_length=1, description="each is tried with every rate"
    )
    held_out: float = Field(
        0.1, gt=0, lt=1, description="share of each class held out from the training images to choose"
    )
    crops: int = Field(4, ge=1, description="random crops of each image; epoch e sees those of epoch e modulo crops")


def label(config: Config) -> str:
    """What leaderboards call the task with these settings."""
    return config.beside("linear-sweep")


def depends_on_seed(config: Config, dataset: Dataset) -> bool:
    """Always: crops, held-out images, first weights and order are drawn."""
    return True


def cost(config: Config, n_train: int, n_test: int, classes: int) -> JobCost:
    """As `linear_fast`, with a head for each setting of the grid."""
    views = min(config.crops, config.epochs) * n_train
    heads = len(config.lrs) * len(config.weight_decays)
    products = heads * head_products(n_train, classes, config.epochs)
    return JobCost(BOTH, views, products=products, views=views, reading=config)


def run(candidate: Candidate, dataset: Dataset, config: Config, seed: int, bench: Bench) -> Outcome:
    """Accuracy of the chosen setting, trained anew on all training images.

    `chosen_lr` and `chosen_weight_decay` say what was chosen, the artifact `grid` every setting's accuracy on the
    held-out images, which are seen without augmentation.
    """
    here, labels = bench.runtime, dataset.train.labels
    crops = passes(candidate, dataset.train, min(config.crops, config.epochs), config, seed, bench)
    inputs = HeadInputs.of(crops, labels, len(dataset.train.info.classes), here)
    plain = FeatureSet(bench.features(candidate, dataset.train, config).features, labels)
    apart = stratified(labels, config.held_out, seed)
    table = _table(inputs, plain, apart, config, seed, bench)
    best = max(table, key=lambda setting: table[setting])
    test = bench.features(candidate, dataset.test, config)
    logits = _trained(inputs, [best], config, seed, bench).logits(on_device(test.features, here))
    logits = here.gather_objects(logits.cpu().numpy())[0]
    scores = [accuracy("top1", top_k_hits(logits, test.labels, 1), "val")]
    if logits.shape[1] > 5:
        scores.append(accuracy("top5", top_k_hits(logits, test.labels, 5), "val"))
    for name, value in zip(("chosen_lr", "chosen_weight_decay"), best, strict=True):
        scores.append(Score(metric=name, value=value, unit="", selected_by="val", n=len(apart), split="train"))
    shown = {"labels": test.labels, "predictions": logits.argmax(1)}
    lines = [json.dumps({"lr": lr, "weight_decay": decay, "held_out_top1": table[lr, decay]}) for lr, decay in table]
    artifacts = {"grid": bench.keep("grid.jsonl", "\n".join([*lines, ""]))}
    return Outcome(tuple(scores), artifacts | {"predictions": bench.keep("predictions.npz", shown)})


def _table(
    inputs: HeadInputs, plain: FeatureSet, apart: Int64[np.ndarray, "m"], config: Config, seed: int, bench: Bench
) -> dict[Setting, float]:
    """The accuracy of every setting on the images set apart, trained on the others; shared among the processes."""
    here, grid = bench.runtime, list(product(config.lrs, config.weight_decays))
    mine = grid[here.rank :: here.world_size]
    accuracies: dict[Setting, float] = {}
    if mine:
        others = np.setdiff1d(np.arange(len(plain.labels)), apart)
        heads = _trained(inputs.only(others), mine, config, seed, bench)
        held_out = on_device(plain.features[apart], here), torch.from_numpy(plain.labels[apart]).to(here.device)
        accuracies = dict(zip(mine, heads.accuracies(*held_out), strict=True))
    everywhere = {setting: top1 for part in here.gather_objects(accuracies) for setting, top1 in part.items()}
    return {setting: everywhere[setting] for setting in grid}


def _trained(inputs: HeadInputs, grid: list[Setting], config: Config, seed: int, bench: Bench) -> BatchedHeads:
    """A head for each setting, whose rate is for 256 images, all trained together."""
    heads = BatchedHeads(inputs, [(lr * config.batch_size / 256, decay) for lr, decay in grid], sgd(config), seed)
    for epoch in range(config.epochs):
        heads.epoch(epoch)
        if bench.report is not None:
            bench.report(epoch + 1, config.epochs)
    return heads
