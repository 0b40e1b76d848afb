"""Machine code makes the views that PIL and torchvision make, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from transferbench.data import DatasetInfo, LabeledImages, evaluation_views
from transferbench.data.evaluation_views import Evaluated, evaluated
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
    {"size": 33, "crop_start": "below"},
    {"size": 33, "crop": 40, "crop_start": "below"},
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


def test_what_decides_kept_pixels_is_all_but_the_colors() -> None:
    assert Preprocess.model_fields.keys() - evaluation_views.SEEN == {"mean", "std", "channel_order", "input_range"}


def test_both_ways_are_taken_by_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, plans, taken = images(SIZES), [Plan(0, np.arange(4)), Plan(0, np.arange(4, 8))], []
    monkeypatch.setattr(evaluation_views, "Evaluated", lambda *given: taken.append(1) or Evaluated(*given))
    few = torch.cat([batch.views[0] for batch in evaluated(seen, Preprocess(size=32, crop=24), plans)])
    assert not taken
    monkeypatch.setattr(evaluation_views, "ENOUGH", len(SIZES))
    many = torch.cat([batch.views[0] for batch in evaluated(seen, Preprocess(size=32, crop=24), plans)])
    assert taken
    assert torch.equal(few, many)


def test_images_are_decoded_once_for_all_networks_that_see_them_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_views, "ENOUGH", 1)
    seen, plans, decoded = images(SIZES), [Plan(0, np.arange(5)), Plan(0, np.arange(5, 8))], []
    seen = replace(seen, read=lambda index, read=seen.read: decoded.append(index) or read(index))
    first, bgr = Preprocess(size=32, crop=24), Preprocess(size=32, crop=24, channel_order="bgr", std=(1.0, 2.0, 3.0))
    expected = {each: [batch.views[0] for batch in evaluated(seen, each, plans)] for each in (first, bgr)}
    decoded.clear()
    with evaluation_views.remembering(6 * (3 * 24 * 24 + 1) + 7):
        for preprocess, count in ((first, 8), (bgr, 2), (first, 2), (Preprocess(size=32, crop=16), 8)):
            found = [batch.views[0] for batch in evaluated(seen, preprocess, plans)]
            assert len(decoded) == count
            decoded.clear()
            assert preprocess not in expected or all(map(torch.equal, found, expected[preprocess]))
    list(evaluated(seen, first, plans))
    assert len(decoded) == 8


def test_loader_processes_share_what_is_decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evaluation_views, "ENOUGH", 1)
    seen, plans = images(SIZES), [Plan(0, np.arange(4)), Plan(0, np.arange(4, 8))]
    seen = replace(seen, read=lambda index, read=seen.read: (tmp_path / f"{index}").touch() or read(index))
    with evaluation_views.remembering(1 << 20):
        first = [batch.views[0] for batch in evaluated(seen, Preprocess(size=32, crop=24), plans, workers=2)]
        for mark in tmp_path.iterdir():
            mark.unlink()
        second = [batch.views[0] for batch in evaluated(seen, Preprocess(size=32, crop=24), plans, workers=1)]
    assert not list(tmp_path.iterdir())
    assert all(map(torch.equal, first, second))


def test_a_machine_that_has_no_room_decodes_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(evaluation_views, "ENOUGH", 1)
    monkeypatch.setattr("mmap.mmap", refused)
    plans = [Plan(0, np.arange(8))]
    (expected,) = evaluated(images(SIZES), Preprocess(size=32, crop=24), plans)
    with evaluation_views.remembering(1 << 20):
        (found,) = evaluated(images(SIZES), Preprocess(size=32, crop=24), plans)
    assert torch.equal(found.views[0], expected.views[0])


def test_an_image_too_narrow_to_be_resized_is_named() -> None:
    seen = images([(48, 48), (1, 30000)])
    with pytest.raises(UserError, match=r"'1\.png'.*would be resized to"):
        Evaluated(seen, Preprocess(size=256, crop=24))(Plan(0, np.arange(2)))
