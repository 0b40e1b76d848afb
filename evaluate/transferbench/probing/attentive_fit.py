"""Train attention-pooled classifiers: all settings on a part of the training images, the best one on all of them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from pydantic import Field
from torch import Tensor

from transferbench import state, stopping
from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.dataset import Dataset
from transferbench.data.loading import shuffled
from transferbench.data.subsets import stratified
from transferbench.errors import UserError
from transferbench.features.extraction import BATCH
from transferbench.features.tokens import TokenSpec
from transferbench.metrics import DIVERGED
from transferbench.probing.attention_pooling import AttentionPooling, first
from transferbench.probing.attentive_heads import AttentiveHeads, HeadTraining, Setting
from transferbench.probing.fit import FitContext, identity_of
from transferbench.probing.token_batches import TokenBatches, Tokens

PATIENCE = 30.0
"""Seconds of training that may be lost when the process is killed, and an epoch more."""


class AttentiveProbe(TokenSpec, AttentionPooling, HeadTraining):
    """Tokens, what pools them, how it is trained, and the settings that are tried."""

    lrs: tuple[float, ...] = Field(
        (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2), min_length=1, description="for 256 images"
    )
    weight_decays: tuple[float, ...] = Field(
        (5e-4, 1e-3, 5e-2), min_length=1, description="each is tried with every rate"
    )
    held_out: float = Field(
        0.1, gt=0, lt=1, description="share of each class held out from the training images to choose among settings"
    )
    crops: int = Field(
        4,
        ge=0,
        description="random crops of each image; epoch e sees those of epoch e modulo crops; 0: images as tests do",
    )
    crop_scale: tuple[float, float] = Field(
        (0.08, 1.0), description="range of the random crop's area, as a share of the image"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")

    @property
    def reading(self) -> TokenSpec:
        """What the settings say."""
        return self

    @property
    def grid(self) -> list[Setting]:
        """All settings."""
        return list(product(self.lrs, self.weight_decays))


@dataclass(frozen=True)
class AttentiveFit:
    """What came out.

    Attributes:
        table: of each setting its accuracy, in percent, on the images held out; empty where there was no choice.
        chosen: the best of them.
        held_out: how many images chose.
        logits: of the test images, by the chosen setting trained on all training images.
    """

    table: dict[Setting, float]
    chosen: Setting
    held_out: int
    logits: Float32[np.ndarray, "n c"]


def fit(candidate: Candidate, dataset: Dataset, probe: AttentiveProbe, seed: int, place: FitContext) -> AttentiveFit:
    """Choose a setting on held-out training images, seen as tests see them, and train it anew on all.

    The settings are shared out among the processes. State is kept in `place.scratch` and taken up by the next call with
    the same arguments, which then ends where an uninterrupted one does.

    Raises:
        UserError: for a backbone without such tokens, tokens or a loss that are not finite, or one training image.
    """
    grid, labels, here = probe.grid, dataset.train.labels, place.runtime
    apart = stratified(labels, probe.held_out, seed) if len(grid) > 1 else np.zeros(0, np.int64)
    held_out = dataset.train.subset(apart, f"held out {probe.held_out:g} seed {seed}")
    training = _Training(candidate, dataset, held_out, probe, seed, place)
    accuracies = training.accuracies
    if accuracies is None and len(apart):
        others = np.setdiff1d(np.arange(len(labels)), apart)
        accuracies = training.scored(grid[here.rank :: here.world_size], others)
    everywhere = dict(pair for part in here.gather_objects(accuracies or []) for pair in part)
    table = {setting: everywhere[setting] for setting in grid} if len(apart) else {}
    chosen = max(table, key=lambda setting: table[setting]) if table else grid[0]
    logits = training.judged(chosen, accuracies or [])
    return AttentiveFit(table, chosen, len(apart), here.gather_objects(logits)[0])


class _Training:
    """Heads in training, and what of it is finished."""

    def __init__(
        self,
        candidate: Candidate,
        dataset: Dataset,
        held_out: LabeledImages,
        probe: AttentiveProbe,
        seed: int,
        place: FitContext,
    ) -> None:
        self.dataset, self.held_out, self.probe, self.seed, self.place = dataset, held_out, probe, seed, place
        if len(dataset.train) < 2:
            raise UserError("Training needs at least 2 images, found 1.")
        splits = (dataset.train, *([held_out] if len(held_out) else []), dataset.test)
        self.batches = TokenBatches.of(candidate, probe, seed, place, splits)
        self.first = {
            name: tensor.to(place.runtime.device)
            for name, tensor in first(probe, self.batches.shape[1], len(dataset.train.info.classes), seed).items()
        }
        who = identity_of(candidate, dataset.train, dataset.test, probe, seed)
        self.identity = f"{who} {place.runtime.rank} of {place.runtime.world_size}"
        rank = f"-{place.runtime.rank}" if place.runtime.rank else ""
        self.path = place.scratch / f"unfinished{rank}.safetensors"
        self.kept: dict[str, Any] = state.load(self.path) if self.path.exists() else {"identity": None}
        if self.kept["identity"] != self.identity:
            self.kept = {"accuracies": None, "chosen": None, "epochs": 0}
        self.rounds = probe.epochs * (2 if len(held_out) else 1)

    @property
    def accuracies(self) -> list[tuple[Setting, float]] | None:
        """Of this process's settings, where they were finished before."""
        kept = self.kept["accuracies"]
        return None if kept is None else [((lr, decay), top1) for (lr, decay), top1 in kept]

    def scored(self, mine: Sequence[Setting], chosen: Int64[np.ndarray, "m"]) -> list[tuple[Setting, float]]:
        """Each setting's accuracy on the images held out, trained on the others."""
        if not mine:
            return []
        heads = self._trained(mine, chosen, {"accuracies": None, "chosen": None}, 0)
        hits, labels = torch.zeros(len(mine), dtype=torch.float64), torch.from_numpy(self.held_out.labels)
        for found, own in zip(_logits(heads, self.batches.plain(self.held_out)), labels.split(BATCH), strict=True):
            hits += (found.argmax(2).cpu() == own[:, None]).double().sum(0)
        return list(zip(mine, (100 * hits / len(labels)).tolist(), strict=True))

    def judged(self, setting: Setting, accuracies: list[tuple[Setting, float]]) -> Float32[np.ndarray, "n c"]:
        """The test images' logits by a head that is trained on all training images."""
        every = np.arange(len(self.dataset.train))
        done = {"accuracies": accuracies, "chosen": list(setting)}
        heads = self._trained([setting], every, done, self.rounds - self.probe.epochs)
        found = _logits(heads, self.batches.plain(self.dataset.test))
        return np.concatenate([each[:, 0].cpu().numpy() for each in found])

    def _trained(
        self, settings: Sequence[Setting], chosen: Int64[np.ndarray, "m"], done: dict[str, Any], before: int
    ) -> AttentiveHeads:
        """A head for each setting, whose rate is for 256 images; taken up where it was left."""
        probe, labels = self.probe, torch.from_numpy(self.dataset.train.labels).to(self.place.runtime.device)
        rates = [(lr * probe.batch_size / 256, decay) for lr, decay in settings]
        heads, begun, saved = AttentiveHeads(probe, probe, rates, self.first, self.batches.shape), 0, time.monotonic()
        if self.kept["epochs"] and self.kept["chosen"] == done["chosen"]:
            heads.load(self.kept["heads"])
            begun = self.kept["epochs"]
        for epoch in range(begun, probe.epochs):
            parts = [chosen[part] for part in _parts(len(chosen), probe.batch_size, epoch, self.seed)]
            losses = torch.zeros(len(settings), dtype=torch.float64, device=labels.device)
            for step, (part, tokens) in enumerate(
                zip(parts, self.batches.views(self.dataset.train, epoch, parts), strict=True)
            ):
                stopping.check()
                own = labels[torch.from_numpy(part).to(labels.device)]
                losses += heads.step(tokens, own, probe.factor(epoch * len(parts) + step, probe.epochs * len(parts)))
            _require_finite(losses / len(chosen), settings, epoch)
            if time.monotonic() - saved >= PATIENCE or epoch + 1 == probe.epochs:
                state.save(self.path, {"identity": self.identity, "epochs": epoch + 1, "heads": heads.state(), **done})
                saved = time.monotonic()
            if self.place.report is not None:
                self.place.report(before + epoch + 1, self.rounds)
        return heads


def _logits(heads: AttentiveHeads, batches: Iterator[Tokens]) -> Iterator[Float32[Tensor, "b s c"]]:
    for tokens in batches:
        stopping.check()
        yield heads.logits(tokens)


def _parts(n: int, batch_size: int, epoch: int, seed: int) -> list[Int64[np.ndarray, "_"]]:
    """An epoch's batches, each image once; a last one of a single image, which has no variance, joins another."""
    parts = [plan.indices for plan in shuffled(n, batch_size, epoch, seed, drop_last=False)]
    if len(parts[-1]) == 1 and len(parts) > 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def _require_finite(losses: Float64[Tensor, "s"], settings: Sequence[Setting], epoch: int) -> None:
    """At least one of the heads has to train."""
    if not bool(losses.isfinite().any()):
        raise UserError(
            f"The training loss became {float(losses[0])} in epoch {epoch + 1}. Lower the learning rate, "
            f"{min(lr for lr, _ in settings)}. If that is of no use, {DIVERGED}"
        )
