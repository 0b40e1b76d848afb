"""Batches of transformed images, the same whatever the number of loader processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from transferbench.data import LabelledImages

Transform = Callable[[Image.Image, np.random.Generator], Sequence[Tensor]]
"""From an image and a generator of its own to one tensor (3 h w) a view."""


@dataclass(frozen=True)
class Plan:
    """One batch to come: which images, and the epoch their randomness belongs to."""

    epoch: int
    indices: Int64[np.ndarray, "b"]


@dataclass(frozen=True)
class Batch:
    """`views` holds one tensor a view; `indices` are positions in the data set."""

    views: tuple[Float[Tensor, "b 3 _ _"], ...]
    labels: Int64[Tensor, "b"]
    indices: Int64[Tensor, "b"]


def in_order(n: int, batch_size: int) -> list[Plan]:
    """Every image once, in order; the last batch may be smaller."""
    return [Plan(0, np.arange(start, min(n, start + batch_size))) for start in range(0, n, batch_size)]


def shuffled(n: int, batch_size: int, epoch: int, seed: int, drop_last: bool) -> list[Plan]:
    """Every image once, in an order drawn from (seed, epoch)."""
    order = np.random.default_rng([seed, epoch]).permutation(n)
    end = n - n % batch_size if drop_last else n
    return [Plan(epoch, order[start : min(end, start + batch_size)]) for start in range(0, end, batch_size)]


def batches(
    images: LabelledImages, transform: Transform, plans: Sequence[Plan], seed: int = 0, workers: int = 0
) -> Iterator[Batch]:
    """The planned batches. Image i in epoch e is always transformed by the generator of (seed, e, i).

    Raises:
        UserError: naming the image that cannot be decoded.
    """
    loader = DataLoader(
        _Planned(images, transform, plans, seed),
        batch_size=None,
        num_workers=min(workers, len(plans)),
        worker_init_fn=_one_thread,
        prefetch_factor=4 if min(workers, len(plans)) else None,
        generator=torch.Generator().manual_seed(seed),
    )
    for result in loader:
        if isinstance(result, Exception):
            raise result
        yield result


class _Planned(Dataset[Batch | Exception]):
    """Item b is batch b. An error travels as a value, so that a loader process does not wrap its message."""

    def __init__(self, images: LabelledImages, transform: Transform, plans: Sequence[Plan], seed: int) -> None:
        self.images, self.transform, self.plans, self.seed = images, transform, plans, seed

    def __len__(self) -> int:
        return len(self.plans)

    def __getitem__(self, b: int) -> Batch | Exception:
        if b >= len(self.plans):
            raise IndexError(b)
        plan = self.plans[b]
        try:
            samples = [self._sample(plan.epoch, int(index)) for index in plan.indices]
        except Exception as error:
            return error
        views = tuple(torch.stack(same_view) for same_view in zip(*samples, strict=True))
        return Batch(views, torch.from_numpy(self.images.labels[plan.indices]), torch.from_numpy(plan.indices))

    def _sample(self, epoch: int, index: int) -> Sequence[Tensor]:
        key = np.array([self.seed % 2**64, epoch << 40 | index], dtype=np.uint64)
        return self.transform(self.images.image(index), np.random.Generator(np.random.Philox(key=key)))


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
