"""Batches: every image once, the same whatever the loader processes, dealt out evenly over ranks."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from transferbench.data import LabeledImages
from transferbench.data.loading import TrainingPlans, batches, in_order, shuffled

Images = Callable[..., LabeledImages]


def noisy(image: Image.Image, rng: np.random.Generator) -> Sequence[Tensor]:
    return [to_tensor(image) + rng.random(), to_tensor(image) * rng.random()]


def test_in_order_covers_everything_once() -> None:
    assert np.array_equal(np.concatenate([plan.indices for plan in in_order(23, 5)]), np.arange(23))


def test_shuffled_drops_only_the_ragged_end() -> None:
    whole = np.concatenate([plan.indices for plan in shuffled(23, 5, epoch=1, seed=0, drop_last=False)])
    even = np.concatenate([plan.indices for plan in shuffled(23, 5, epoch=1, seed=0, drop_last=True)])
    assert sorted(whole) == list(range(23))
    assert np.array_equal(even, whole[:20])


def test_batches_do_not_depend_on_workers(tiny_images: Images) -> None:
    images, plans = tiny_images(20), shuffled(20, 6, epoch=2, seed=3, drop_last=False)
    for a, b in zip(batches(images, noisy, plans, 3, 0), batches(images, noisy, plans, 3, 2), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))
        assert torch.equal(a.indices, b.indices)
        assert torch.equal(a.labels, b.labels)


def test_an_image_is_transformed_anew_in_each_epoch(tiny_images: Images) -> None:
    images = tiny_images(4)
    plans = [shuffled(4, 4, epoch, 0, False)[0] for epoch in (0, 1)]
    first, second = batches(images, noisy, plans, 0)
    assert not torch.equal(first.views[0][first.indices.argsort()], second.views[0][second.indices.argsort()])


def test_ranks_share_the_batch_in_order() -> None:
    alone = TrainingPlans(40, 8, 2, seed=1)
    ranks = [TrainingPlans(40, 8, 2, seed=1, place=(rank, 2)) for rank in (0, 1)]
    assert len(alone) == 10
    for b in range(10):
        assert np.array_equal(np.concatenate([plans[b].indices for plans in ranks]), alone[b].indices)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.sampled_from([1, 2, 3, 4, 6]), st.sampled_from([1, 2, 4]), st.data())
def test_no_image_is_seen_twice_in_an_epoch_whoever_goes_on(
    batches_of_12: int, before: int, after: int, data: st.DataObject
) -> None:
    """Some processes take an epoch's first steps, others the rest."""
    n = 12 * batches_of_12 + data.draw(st.integers(0, 11))
    stop = data.draw(st.integers(0, batches_of_12))
    first, rest = (
        [TrainingPlans(n, 12, 3, seed=2, place=(rank, count)) for rank in range(count)] for count in (before, after)
    )
    seen = [plans[b].indices for plans in first for b in range(stop)]
    seen += [plans.between(stop, len(plans))[b].indices for plans in rest for b in range(batches_of_12 - stop)]
    assert len(np.unique(np.concatenate(seen))) == 12 * batches_of_12 == sum(map(len, seen))


def test_a_later_start_is_the_same_run() -> None:
    plans = TrainingPlans(40, 8, 3, seed=1)
    later = plans.between(7, len(plans))
    assert len(later) == 8
    assert all(np.array_equal(later[i].indices, plans[7 + i].indices) for i in range(8))
    assert [later[i].epoch for i in range(8)] == [plans[7 + i].epoch for i in range(8)]


def test_each_epoch_is_a_whole_pass() -> None:
    plans = TrainingPlans(40, 8, 2, seed=1)
    for epoch in (0, 1):
        assert sorted(np.concatenate([plans[epoch * 5 + b].indices for b in range(5)])) == list(range(40))
