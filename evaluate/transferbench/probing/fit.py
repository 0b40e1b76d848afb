"""Train a linear classifier on augmented images, over a frozen backbone or together with a copy that is tuned."""

import copy
import dataclasses
import math
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64
from torch import Tensor

from transferbench import settings, state
from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.loading import Batch, Plan, shuffled
from transferbench.data.training_views import trained_on
from transferbench.data.transforms import training
from transferbench.errors import UserError
from transferbench.features.extraction import Report, evaluating, extract, stream, width
from transferbench.features.prepared import Prepared, memory_format
from transferbench.features.spec import forward
from transferbench.metrics import DIVERGED, top_k_hits
from transferbench.probing.probe import Epoch, Fitted, Probe, Tuning, initial
from transferbench.runtime import Runtime, seeded
from transferbench.runtime.sync_batchnorm import synchronize


@runtime_checkable
class FitContext(Protocol):
    """Where a fit works; `tasks.Bench` is one."""

    @property
    def runtime(self) -> Runtime:
        """This process among its peers."""
        ...

    @property
    def cache(self) -> Path:
        """Where features are kept."""
        ...

    @property
    def scratch(self) -> Path:
        """Where the unfinished state lies."""
        ...

    @property
    def workers(self) -> int:
        """Loader processes."""
        ...

    @property
    def report(self) -> Report | None:
        """Told (epochs done, epochs in all)."""
        ...


def fit(
    candidate: Candidate, train: LabeledImages, test: LabeledImages, recipe: Probe, seed: int, context: FitContext
) -> Fitted:
    """Train by `recipe`; a `Tuning` trains a copy of the backbone too. The candidate itself is never changed.

    State is saved in `place.scratch` after every epoch and taken up by the next call with the same arguments, which
    then ends exactly where an uninterrupted one does; after a finished fit it trains nothing.

    Raises:
        UserError: for fewer than 2 training images, or a loss that is not finite.
    """
    fitting = _Fitting(candidate, train, test, recipe, seed, context)
    path = context.scratch / "unfinished.safetensors"
    curve = fitting.resume(path)
    logits = None
    for number in range(len(curve), recipe.epochs):
        loss, train_top1 = fitting.train_epoch(number)
        logits = fitting.logits()
        test_top1 = 100 * float(top_k_hits(logits, test.labels, 1).mean())
        curve.append(Epoch(number + 1, loss, train_top1, test_top1))
        if context.runtime.is_main:
            fitting.save(path, curve)
        if context.report is not None:
            context.report(number + 1, recipe.epochs)
    context.runtime.barrier()
    return Fitted(tuple(curve), fitting.logits() if logits is None else logits)


class _Fitting:
    """A head in training, with the frozen backbone below it or a copy that learns too."""

    def __init__(
        self,
        candidate: Candidate,
        train: LabeledImages,
        test: LabeledImages,
        recipe: Probe,
        seed: int,
        context: FitContext,
    ) -> None:
        self.train, self.test, self.recipe, self.seed, self.context = train, test, recipe, seed, context
        self.runtime = context.runtime
        self.identity = identity_of(candidate, train, test, recipe, seed)
        candidate.backbone.to(self.runtime.device)
        features = width(candidate, test, self.runtime, recipe.reading)
        self.head = initial(features, len(train.info.classes), seed).to(self.runtime.device)
        groups = [{"params": list(self.head.parameters()), "base": recipe.lr_head * recipe.batch_size / 256}]
        self.tuned = isinstance(recipe, Tuning)
        if isinstance(recipe, Tuning):
            backbone = synchronize(copy.deepcopy(candidate.backbone), self.runtime).train().requires_grad_(True)
            self.layout = memory_format(backbone, recipe.precision)
            backbone.to(memory_format=self.layout)
            candidate = dataclasses.replace(candidate, backbone=backbone)
            base = recipe.lr_backbone * recipe.batch_size / 256
            groups.append({"params": list(backbone.parameters()), "base": base})
        self.candidate = candidate
        self.optimizer = recipe.build_optimizer(groups)

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the training images; mean loss and accuracy (percent)."""
        rank, processes = self.runtime.rank, self.runtime.world_size
        plans = _plans(len(self.train), self.recipe.batch_size, epoch, self.seed, processes, self.tuned)
        share = [Plan(epoch, plan.indices[rank::processes]) for plan in plans]
        transform = training(self.candidate.card.preprocess, self.recipe.crop_scale, self.recipe.flip)
        sums = torch.zeros(2, dtype=torch.float64, device=self.runtime.device)
        with seeded(int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])):
            loader = trained_on(self.train, transform, share, self.seed, self.context.workers)
            for step, batch in enumerate(loader):
                for group in self.optimizer.param_groups:
                    group["lr"] = group["base"] * self.recipe.factor(epoch, step, len(plans))
                sums += self._step(batch, len(plans[step].indices))
        loss, hits = (self.runtime.total(sums) / sum(len(plan.indices) for plan in plans)).tolist()
        if not math.isfinite(loss):
            raise UserError(
                f"The training loss became {loss} in epoch {epoch + 1}. Lower the learning rates: lr_head is "
                f"{self.recipe.lr_head} for 256 images. If that is of no use, {DIVERGED}"
            )
        return loss, 100 * hits

    def logits(self) -> Float32[np.ndarray, "n c"]:
        """The test images' logits as things stand."""
        with torch.no_grad():
            if not self.tuned:
                return self.head(self._frozen_test_features).cpu().numpy()
            seen = stream(self.candidate, self.test, self.runtime, self.context.workers, self.recipe.reading)
            share = [self.head(features).cpu().numpy() for _, features in seen]
            return np.concatenate([part for parts in self.runtime.gather_objects(share) for part in parts])

    @cached_property
    def _frozen(self) -> Prepared:
        return Prepared(self.candidate.backbone, self.recipe.reading)

    @cached_property
    def _frozen_test_features(self) -> Float32[Tensor, "n d"]:
        context = self.context
        features = extract(
            self.candidate, self.test, context.cache, context.runtime, context.workers, self.recipe.reading
        )
        return torch.from_numpy(np.array(features.features)).to(context.runtime.device)

    def save(self, path: Path, curve: list[Epoch]) -> None:
        """Write all that the next epoch depends on."""
        tree = {
            "identity": self.identity,
            "curve": [dataclasses.asdict(epoch) for epoch in curve],
            "head": self.head.state_dict(),
            "backbone": self.candidate.backbone.state_dict() if self.tuned else None,
            "optimizer": self.optimizer.state_dict(),
        }
        state.save(path, tree)

    def resume(self, path: Path) -> list[Epoch]:
        """Take up what `save` left there for these very arguments; the curve so far, empty when there is nothing."""
        tree: dict[str, Any] = state.load(path) if path.exists() else {"identity": None}
        if tree["identity"] != self.identity:
            return []
        self.head.load_state_dict(tree["head"])
        if self.tuned:
            self.candidate.backbone.load_state_dict(tree["backbone"])
        self.optimizer.load_state_dict(tree["optimizer"])
        return [Epoch(**epoch) for epoch in tree["curve"]]

    def _step(self, batch: Batch, total: int) -> Float64[Tensor, "2"]:
        """One update with a batch of `total` images over all processes; the loss and hits summed over this one's."""
        images, labels = batch.views[0].to(self.runtime.device), batch.labels.to(self.runtime.device)
        if self.tuned:
            images = images.contiguous(memory_format=self.layout)
            features = forward(self.candidate.backbone, images, self.recipe.reading)
        else:
            with evaluating(self.candidate.backbone):
                features = self._frozen(images)
        logits = self.head(features)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        self.optimizer.zero_grad()
        (loss / total).backward()
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = self.runtime.total(parameter.grad)
        self.optimizer.step()
        return torch.stack([loss.detach().double(), (logits.argmax(1) == labels).sum().double()])


def identity_of(
    candidate: Candidate, train: LabeledImages, test: LabeledImages, recipe: settings.Settings, seed: int
) -> str:
    """A sha256 of everything that fixes how a fit goes."""
    return settings.sha256(
        {
            "recipe": recipe.model_dump(mode="json"),
            "seed": seed,
            "digest": candidate.digest,
            "architecture": candidate.card.architecture.model_dump(mode="json"),
            "preprocess": candidate.card.preprocess.model_dump(mode="json"),
            "train": train.fingerprint,
            "test": test.fingerprint,
        }
    )


def _plans(n: int, batch_size: int, epoch: int, seed: int, processes: int, even: bool) -> list[Plan]:
    """An epoch's batches over all processes, each image once.

    A last batch too small for batch statistics in every process joins the one before it. `even` cuts each batch to a
    multiple of the number of processes.
    """
    least = 2 * processes
    if n < least:
        raise UserError(f"Training with {processes} process(es) needs at least {least} images, found {n}.")
    plans = shuffled(n, batch_size, epoch, seed, drop_last=False)
    if len(plans[-1].indices) < least:
        plans[-2:] = [Plan(epoch, np.concatenate([plan.indices for plan in plans[-2:]]))]
    return (
        [Plan(epoch, plan.indices[: len(plan.indices) // processes * processes]) for plan in plans] if even else plans
    )
