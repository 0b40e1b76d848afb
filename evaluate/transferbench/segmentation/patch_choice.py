"""How many neighbors vote, and by what they are near: chosen by training images that are held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic
from jaxtyping import Int16, Int64
from pydantic import Field

from transferbench.neighbors import Metric
from transferbench.segmentation.matching import Confused, confused, counts_of
from transferbench.segmentation.patch_memory import Place
from transferbench.segmentation.patch_predictions import Choice, Predictor
from transferbench.segmentation.patch_views import Views
from transferbench.segmentation.scoring import Scoring, segmentation_scores
from transferbench.settings import Settings

Maps = tuple[Int16[np.ndarray, "h w"], Int64[np.ndarray, "h w"]]
"""The true classes of an image's pixels, and what they are taken for."""


class Choosing(Settings):
    """What is chosen among, and by how many images."""

    ks: tuple[int, ...] = Field((1, 3, 10, 30), description="numbers of neighbors to choose among")
    metrics: tuple[Metric, ...] = Field(("cosine", "euclidean"), description="what is near: metrics to choose among")
    held_out: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="where there is a choice: the share of the training images, drawn by the seed, whose mIoU decides; "
        "they are remembered too afterwards",
    )

    @pydantic.field_validator("ks", "metrics")
    @classmethod
    def _some(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values or any(isinstance(k, int) and k < 1 for k in values):
            raise ValueError("expected at least one, and numbers from 1 on")
        return tuple(dict.fromkeys(values))

    @property
    def choices(self) -> list[Choice]:
        """Every k with every metric."""
        return [(k, metric) for k in self.ks for metric in self.metrics]

    def parted(self, n: int, seed: int) -> tuple[Int64[np.ndarray, "t"], Int64[np.ndarray, "h"]]:
        """The numbers of the images that teach and of those held out; none of these where nothing is chosen."""
        few = max(1, int(n * self.held_out)) if len(self.choices) > 1 else 0
        order = np.random.default_rng(seed).permutation(n)
        return np.sort(order[few:]), np.sort(order[:few])


@dataclass(frozen=True)
class Tried:
    """A choice and its mIoU on the images held out, percent."""

    k: int
    metric: Metric
    miou: float


def tried(
    predictor: Predictor, views: Views, held_out: Int64[np.ndarray, "h"], of: tuple[Choosing, Scoring], place: Place
) -> list[Tried]:
    """Every choice on the images held out, as they are tested; nothing where there is one choice."""
    choosing, scoring = of
    if not len(held_out):
        return []
    found = pairs(predictor, views, held_out, choosing.choices, place)
    plain = np.arange(predictor.law.coding.size)
    scores = [segmentation_scores(counts_of(each, plain), scoring.absent, scoring.averaged) for each in found]
    return [Tried(*choice, score[0].value) for choice, score in zip(choosing.choices, scores, strict=True)]


def pairs(
    predictor: Predictor,
    views: Views,
    indices: Int64[np.ndarray, "n"],
    choices: Sequence[Choice],
    place: Place,
    drawn: dict[int, Maps | None] | None = None,
) -> list[list[Confused]]:
    """By each choice, what each image's classes were taken for; the processes share the images.

    The maps of those whose numbers are in `drawn` are put there, by the first choice.
    """
    mine = np.array_split(indices, place.runtime.world_size)[place.runtime.rank]
    found: list[list[Confused]] = [[] for _ in choices]
    maps: dict[int, Maps] = {}
    for index, truth, predicted in predictor.predicted(views, mine, choices, place):
        for images, each in zip(found, predicted, strict=True):
            images.append(confused(truth, each, predictor.law.coding.size))
        if drawn is not None and index in drawn:
            maps[index] = truth, predicted[0]
        if place.report is not None:
            place.report(len(found[0]), len(mine))
    parts = place.runtime.gather_objects((found, maps))
    for _, more in parts:
        (drawn if drawn is not None else {}).update(more)
    return [[each for part, _ in parts for each in part[i]] for i in range(len(choices))]
