"""Tokens of training views and of images as tests see them: kept on disk where there is room, else made anew."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from transferbench.checkpoints import Candidate
from transferbench.data import LabeledImages
from transferbench.data.evaluation_views import evaluated
from transferbench.data.loading import Batch, Plan
from transferbench.data.training_views import trained_on
from transferbench.data.transforms import training
from transferbench.errors import UserError
from transferbench.features import tokens
from transferbench.features.extraction import BATCH, evaluating, extract
from transferbench.features.prepared import Prepared
from transferbench.features.tokens import TokenSpec
from transferbench.probing.cached_crops import passes
from transferbench.probing.fit import FitContext
from transferbench.runtime import token_room

WORTH_SAYING = 2**30
"""Bytes on disk from which on the size is told beforehand."""

Tokens = Float32[Tensor, "b n d"]


@runtime_checkable
class ViewRecipe(Protocol):
    """Which tokens a fit sees."""

    @property
    def crops(self) -> int:
        """Random crops of each image; 0: the images as tests see them."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over them, which may be fewer."""
        ...

    @property
    def crop_scale(self) -> tuple[float, float]:
        """The least and the largest share of an image's area."""
        ...

    @property
    def flip(self) -> float:
        """The probability of mirroring."""
        ...

    @property
    def reading(self) -> TokenSpec:
        """What is taken of the backbone."""
        ...


@dataclass(frozen=True)
class TokenBatches:
    """Where batches of tokens come from; the same within their rounding, whether kept or made anew.

    Attributes:
        shape: tokens of an image, and their width.
        is_kept: whether they are made once and lie in the cache.
    """

    candidate: Candidate
    recipe: ViewRecipe
    seed: int
    place: FitContext
    shape: tuple[int, int]
    is_kept: bool

    @classmethod
    def of(
        cls, candidate: Candidate, recipe: ViewRecipe, seed: int, place: FitContext, splits: Sequence[LabeledImages]
    ) -> "TokenBatches":
        """For training views of the first split, and plain ones of the others; all are kept, or none.

        A warning says beforehand how much is kept, where that is much, and that tokens are made anew.
        """
        candidate.backbone.to(place.runtime.device)
        first = next(evaluated(splits[0], candidate.card.preprocess, [Plan(0, np.zeros(1, np.int64))]))
        with evaluating(candidate.backbone):
            images = first.views[0].to(place.runtime.device)
            shape = tokens.shape(candidate.backbone, images, recipe.reading)
        count = max(1, min(recipe.crops, recipe.epochs)) * len(splits[0]) + sum(len(each) for each in splits[1:])
        size, room = np.dtype(recipe.reading.kept_in).itemsize * count * shape[0] * shape[1], token_room()
        if place.runtime.is_main and size > min(room, WORTH_SAYING):
            sum_ = f"{count:,} x {shape[0]} tokens of {shape[1]} channels in {recipe.reading.kept_in}"
            told = f"take {size / 2**30:,.1f} GiB in {place.cache}" if size <= room else "are made anew for each epoch"
            limit = f"{room / 2**30:,.1f} GiB may be kept (TRANSFERBENCH_TOKENS_GIB)"
            warnings.warn(f"{sum_}, {size / 2**30:,.1f} GiB, {told}: {limit}.", stacklevel=3)
        return cls(candidate, recipe, seed, place, shape, size <= room)

    def views(self, images: LabeledImages, epoch: int, chosen: Sequence[Int64[np.ndarray, "_"]]) -> Iterator[Tokens]:
        """Tokens of an epoch's views of the images of these numbers, a batch each."""
        number = epoch % max(1, self.recipe.crops)
        if self.is_kept:
            kept = self._kept(images)[number]
            for part in chosen:
                yield self._batch(kept[part])
            return
        preprocess, plans = self.candidate.card.preprocess, [Plan(number, part) for part in chosen]
        if not self.recipe.crops:
            yield from self._anew(evaluated(images, preprocess, plans, self.place.workers))
            return
        transform = training(preprocess, self.recipe.crop_scale, self.recipe.flip)
        yield from self._anew(trained_on(images, transform, plans, self.seed, self.place.workers))

    def plain(self, images: LabeledImages) -> Iterator[Tokens]:
        """Tokens of all images as tests see them, in order."""
        parts = np.split(np.arange(len(images)), range(BATCH, len(images), BATCH))
        if self.is_kept:
            kept = self._extracted(images)
            for part in parts:
                yield self._batch(kept[part])
            return
        plans = [Plan(0, part) for part in parts]
        yield from self._anew(evaluated(images, self.candidate.card.preprocess, plans, self.place.workers))

    def _kept(self, images: LabeledImages) -> list[Float[np.ndarray, "n d"]]:
        if images.fingerprint not in self._found:
            count = min(self.recipe.crops, self.recipe.epochs)
            crops = passes(self.candidate, images, count, self.recipe, self.seed, self.place)
            self._found[images.fingerprint] = crops if count else [self._extracted(images)]
        return self._found[images.fingerprint]

    @cached_property
    def _found(self) -> dict[str, list[Float[np.ndarray, "n d"]]]:
        return {}

    def _extracted(self, images: LabeledImages) -> Float[np.ndarray, "n d"]:
        place = self.place
        return extract(
            self.candidate, images, place.cache, place.runtime, place.workers, self.recipe.reading, place.report
        ).features

    def _anew(self, batches: Iterator[Batch]) -> Iterator[Tokens]:
        for batch in batches:
            with evaluating(self.candidate.backbone):
                rows = self._prepared(batch.views[0].to(self.place.runtime.device))
            rows = rows.to(getattr(torch, self.recipe.reading.kept_in))
            if not bool(rows.isfinite().all()):
                raise UserError(
                    f"{self.candidate.name} gives tokens that are not finite in {rows.dtype} for an image of a batch. "
                    "Expected finite numbers: the weights may have diverged or need another preprocessing; or set "
                    "kept=float32."
                )
            yield self._batch(rows)

    @cached_property
    def _prepared(self) -> Prepared:
        return Prepared(self.candidate.backbone, self.recipe.reading)

    def _batch(self, rows: Float[np.ndarray, "b row"] | Float[Tensor, "b row"]) -> Tokens:
        rows = torch.from_numpy(np.array(rows)) if isinstance(rows, np.ndarray) else rows
        return rows.to(self.place.runtime.device).float().unflatten(1, self.shape)
