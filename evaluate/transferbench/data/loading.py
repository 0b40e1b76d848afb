"""Batches of transformed images, the same whatever the number of loader processes."""

import copy
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt64
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from transferbench import stopping
from transferbench.data import LabeledImages
from transferbench.data.decoding import ImageSizeError
from transferbench.errors import UserError

T = TypeVar("T")
P = TypeVar("P", bound="Plan")
P_co = TypeVar("P_co", bound="Plan", covariant=True)
Transform = Callable[[Image.Image, np.random.Generator], Sequence[Tensor]]
"""From an image and a generator of its own to one tensor (3 h w) a view."""


@dataclass(frozen=True)
class Plan:
    """One batch to come: which images, and the epoch their randomness belongs to."""

    epoch: int
    indices: Int64[np.ndarray, "b"]

    @property
    def place(self) -> str:
        """The part of the run it belongs to, in words."""
        return f"epoch {self.epoch + 1}"


@dataclass(frozen=True)
class Batch:
    """`views` holds one tensor a view; `indices` are positions in the data set."""

    views: tuple[Float[Tensor, "b 3 _ _"], ...]
    labels: Int64[Tensor, "b"]
    indices: Int64[Tensor, "b"]


@runtime_checkable
class Plans(Protocol[P_co]):
    """Batches to come, by their number: a list, or what works each out when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> P_co: ...


def in_order(n: int, batch_size: int) -> list[Plan]:
    """Every image once, in order; the last batch may be smaller."""
    return [Plan(0, np.arange(start, min(n, start + batch_size))) for start in range(0, n, batch_size)]


def shuffled(n: int, batch_size: int, epoch: int, seed: int, drop_last: bool) -> list[Plan]:
    """Every image once, in an order drawn from (seed, epoch)."""
    order = _order(n, epoch, seed)
    end = n - n % batch_size if drop_last else n
    return [Plan(epoch, order[start : min(end, start + batch_size)]) for start in range(0, end, batch_size)]


class TrainingPlans:
    """The batches of a whole training run, worked out when asked for.

    Every epoch is a new order drawn from (seed, epoch) without its ragged end. The global batch is dealt out to the
    ranks in contiguous parts, so that gathering them restores the one-process batch.
    """

    def __init__(self, n: int, batch_size: int, epochs: int, seed: int, place: tuple[int, int] = (0, 1)) -> None:
        """`place` is (rank, world size); `batch_size` is the global one."""
        self.n, self.seed, self.epochs = n, seed, epochs
        self.rank, self.world_size = place
        self.local_size = batch_size // self.world_size
        self.steps_per_epoch = n // batch_size
        self.first, self.last = 0, epochs * self.steps_per_epoch

    def between(self, first: int, last: int) -> "TrainingPlans":
        """The same run from step `first` on and before step `last`; none where it is past that."""
        part = copy.copy(self)
        part.first, part.last = first, last
        return part

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __getitem__(self, index: int) -> Plan:
        if not 0 <= index < len(self):
            raise IndexError(index)
        epoch, batch = divmod(self.first + index, self.steps_per_epoch)
        start = (batch * self.world_size + self.rank) * self.local_size
        return Plan(epoch, _order(self.n, epoch, self.seed)[start : start + self.local_size])


@lru_cache(maxsize=2)
def _order(n: int, epoch: int, seed: int) -> Int64[np.ndarray, "n"]:
    return np.random.default_rng([seed, epoch]).permutation(n)


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """What image `index` is transformed by in an epoch."""
    return np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, epoch << 40 | index], dtype=np.uint64)))


def keys(seed: int, epoch: int, indices: Int64[np.ndarray, "n"]) -> UInt64[np.ndarray, "n 2"]:
    """The keys of the images' generators."""
    out = np.empty((len(indices), 2), np.uint64)
    out[:, 0], out[:, 1] = seed % 2**64, epoch << 40 | indices
    return out


def batches(
    images: LabeledImages, transform: Transform, plans: Plans[Plan], seed: int = 0, workers: int = 0
) -> Iterator[Batch]:
    """The planned batches. Image i in epoch e is always transformed by the generator of (seed, e, i).

    Raises:
        UserError: naming the image that cannot be decoded, or the batch at which a loader process died.
    """
    return made(images, OneByOne(images, transform, seed), plans, seed, workers)


def made(
    images: LabeledImages,
    make: Callable[[P], T],
    plans: Plans[P],
    seed: int = 0,
    workers: int = 0,
    ahead: int = 4,
) -> Iterator[T]:
    """What `make` makes of every plan for `images`, in order, in so many loader processes, each `ahead` batches ahead.

    Raises:
        UserError: naming the batch at which a loader process died; and whatever `make` raises.
        Interrupted: before a batch, when the process was told to stop.
    """
    loader = DataLoader(
        _Planned(make, plans),
        batch_size=None,
        num_workers=min(workers, len(plans)),
        worker_init_fn=on_start,
        prefetch_factor=ahead if min(workers, len(plans)) else None,
        generator=torch.Generator().manual_seed(seed),
    )
    results = iter(loader)
    try:
        for index in range(len(plans)):
            stopping.check()
            result = _next(results)
            if isinstance(result, str):
                raise UserError(_died(images, plans[index], result))
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        del results  # and with it the processes, which would outlive it in the traceback


def _next(results: Iterator[Any]) -> Any:
    """What the next plan led to, or how a loader process died: no exception, for one would keep `results` alive."""
    try:
        return next(results)
    except RuntimeError as error:
        if "exited unexpectedly" not in str(error):
            raise
        return str(error)


def _died(images: LabeledImages, plan: Plan, how: str) -> str:
    first, last = (images.names[int(plan.indices[i])] for i in (0, -1))
    return (
        f"A loader process died while loading a batch of {plan.place}, '{first}' to '{last}' of "
        f"{images.info.name}: {how}. It may have been killed for lack of memory. Try fewer --workers, or --workers 0, "
        "which shows the reason."
    )


@dataclass(frozen=True)
class OneByOne:
    """Makes a batch of one image after another."""

    images: LabeledImages
    transform: Transform
    seed: int

    def __call__(self, plan: Plan) -> Batch:
        """The views of the planned images."""
        samples = [self._sample(plan.epoch, int(index)) for index in plan.indices]
        views = tuple(torch.stack(same_view) for same_view in zip(*samples, strict=True))
        return Batch(views, torch.from_numpy(self.images.labels[plan.indices]), torch.from_numpy(plan.indices))

    def _sample(self, epoch: int, index: int) -> Sequence[Tensor]:
        image = self.images.image(index)
        try:
            return self.transform(image, generator(self.seed, epoch, index))
        except ImageSizeError as error:
            raise self.images.unreadable(index, error) from None


class _Planned(Dataset[Any]):
    """Item b is what plan b leads to. An error travels as a value: a loader process does not wrap its message."""

    def __init__(self, make: Callable[[Any], Any], plans: Plans[Plan]) -> None:
        self.make, self.plans = make, plans

    def __len__(self) -> int:
        return len(self.plans)

    def __getitem__(self, b: int) -> Any:
        if b >= len(self.plans):
            raise IndexError(b)
        try:
            return self.make(self.plans[b])
        except Exception as error:
            return error


def on_start(worker: int) -> None:
    """One thread each; a signal to the whole group is for the process that asked for the batches to act on."""
    torch.set_num_threads(1)
    for number in stopping.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
