"""Machine code makes the views that PIL and torchvision make, bit for bit."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages, evaluating
from transferbench.data.evaluating import Evaluated, evaluated
from transferbench.data.loading import Plan, batches
from transferbench.data.transforms import Preprocess, evaluation
from transferbench.errors import UserError

pytest.importorskip("numba")
SIZES = [(48, 64), (64, 48), (37, 91), (200, 31), (31, 200), (32, 32), (90, 40), (16, 16)]
"""Height and width; the last is smaller than the crop."""
SETTINGS: list[dict[str, Any]] = [
    {"size": 32},
    {"size": 32, "interpolation": "bicubic"},
    {"size": 40, "resize": "square", "interpolation": "bicubic"},
    {"size": 23, "crop": 24},
    {"size": None},
    {"size": 32, "channel_order": "bgr", "input_range": 255, "mean": (103.5, 116.3, 123.7), "std": (1.0, 57.4, 58.4)},
]


def images(sizes: list[tuple[int, int]]) -> LabeledImages:
    draw = np.random.default_rng(0)
    made = [Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    info = DatasetInfo("noise", ("a", "b"), ("test",), None, "1")
    names = [f"{n}.png" for n in range(len(made))]
    return LabeledImages(info, "test", np.arange(len(made)) % 2, lambda index: made[index], names, "noise")


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_views_are_torchvisions_bit_for_bit(settings: dict[str, Any]) -> None:
    preprocess = Preprocess(**{"crop": 24, **settings})
    seen, plan = images(SIZES), Plan(0, np.arange(len(SIZES)))
    (expected,) = batches(seen, evaluation(preprocess), [plan])
    found = Evaluated(seen, preprocess)(plan)
    assert torch.equal(found.views[0], expected.views[0])
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(found.indices, expected.indices)


def test_both_ways_are_taken_by_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, plans, taken = images(SIZES), [Plan(0, np.arange(4)), Plan(0, np.arange(4, 8))], []
    monkeypatch.setattr(evaluating, "Evaluated", lambda *given: taken.append(1) or Evaluated(*given))
    few = torch.cat([batch.views[0] for batch in evaluated(seen, Preprocess(size=32, crop=24), plans)])
    assert not taken
    monkeypatch.setattr(evaluating, "ENOUGH", len(SIZES))
    many = torch.cat([batch.views[0] for batch in evaluated(seen, Preprocess(size=32, crop=24), plans)])
    assert taken
    assert torch.equal(few, many)


def test_an_image_too_narrow_to_be_resized_is_named() -> None:
    seen = images([(48, 48), (1, 30000)])
    with pytest.raises(UserError, match=r"'1\.png'.*would be resized to"):
        Evaluated(seen, Preprocess(size=256, crop=24))(Plan(0, np.arange(2)))
