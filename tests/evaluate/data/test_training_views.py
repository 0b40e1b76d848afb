"""Machine code makes the random views that PIL and torchvision make, by the same numbers, bit for bit."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages, evaluation_views, training_views
from transferbench.data.loading import Plan, batches
from transferbench.data.training_views import TrainedOn, trained_on
from transferbench.data.transforms import Preprocess
from transferbench.data.transforms import training as transform_of

pytest.importorskip("numba")
SIZES = [(48, 64), (64, 48), (37, 91), (20, 31), (32, 32), (90, 40), (8, 8)]
"""Height and width."""


def images() -> LabeledImages:
    draw = np.random.default_rng(0)
    made = [Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]
    info = DatasetInfo("noise", ("a", "b"), ("train",), None, "1")
    names = [f"{n}.png" for n in range(len(made))]
    return LabeledImages(info, "train", np.arange(len(made)) % 2, lambda index: made[index], names, "noise")


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("epoch", [0, 3])
def test_views_are_torchvisions_bit_for_bit(interpolation: Any, epoch: int) -> None:
    preprocess = Preprocess(size=32, crop=24, interpolation=interpolation)
    seen, plan = images(), Plan(epoch, np.array([3, 0, 6, 2, 1, 5, 4]))
    for scale, flip in (((0.08, 1.0), 0.5), ((0.3, 0.9), 0.0)):
        transform = transform_of(preprocess, scale, flip)
        (expected,) = batches(seen, transform, [plan], seed=7)
        found = TrainedOn(seen, transform, 7)(plan)
        assert torch.equal(found.views[0], expected.views[0])
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(found.indices, expected.indices)


def test_what_machine_code_does_not_do_is_left_to_pil(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(evaluation_views, "ENOUGH", 1)
    monkeypatch.setattr(training_views, "TrainedOn", lambda *given: taken.append(1) or TrainedOn(*given))
    for preprocess, count in ((Preprocess(crop=16), 1), (Preprocess(crop=16, channel_order="bgr"), 0)):
        transform = transform_of(preprocess, (0.5, 1.0), 0.5)
        list(trained_on(images(), transform, [Plan(0, np.arange(4))], 0))
        assert len(taken) == count
        taken.clear()
