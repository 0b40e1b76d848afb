"""The per-image transforms against torchvision's."""

import pickle
import warnings

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image

from transferbench.data.transforms import RATIO, Preprocess, crop_box, evaluation, normalized, training

MODES = {"bilinear": T.InterpolationMode.BILINEAR, "bicubic": T.InterpolationMode.BICUBIC}


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("width", "height", "size", "crop"), [(61, 40, 32, 28), (20, 33, 36, 32), (20, 20, None, 24)])
def test_evaluation_equals_torchvisions_compose(width: int, height: int, size: int | None, crop: int, mode) -> None:
    settings = Preprocess(size=size, crop=crop, interpolation=mode)
    theirs = T.Compose(
        ([T.Resize(size, MODES[mode])] if size else [])
        + [T.CenterCrop(crop), T.ToTensor(), T.Normalize(settings.mean, settings.std)]
    )
    image = picture(width, height)
    (ours,) = evaluation(settings)(image, rng())
    assert torch.equal(ours, theirs(image))


def boxes(width: int, height: int, scale: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """3,000 crop boxes, ours and torchvision's."""
    generator, image = rng(1), picture(width, height)
    ours = [crop_box(width, height, scale, RATIO, generator) for _ in range(3000)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [T.RandomResizedCrop.get_params(image, list(scale), list(RATIO)) for _ in range(3000)]
    return np.array(ours, float), np.array(theirs, float)


@pytest.mark.parametrize(
    ("width", "height", "scale"), [(64, 48, (0.08, 1.0)), (32, 32, (0.2, 1.0)), (90, 40, (0.5, 1.0))]
)
def test_crop_boxes_are_distributed_as_torchvisions(width: int, height: int, scale: tuple[float, float]) -> None:
    ours, theirs = boxes(width, height, scale)
    for name, measure in {
        "area": lambda b: b[:, 2] * b[:, 3],
        "log ratio": lambda b: np.log(b[:, 3] / b[:, 2]),
        "top": lambda b: b[:, 0],
        "left": lambda b: b[:, 1],
        "middle": lambda b: b[:, 1] + b[:, 3] / 2,
    }.items():
        a, b = measure(ours), measure(theirs)
        error = np.sqrt((a.var() + b.var()) / 3000)
        assert abs(a.mean() - b.mean()) < 4 * error, name
        assert abs(a.std() - b.std()) < 4 * error, name


@pytest.mark.parametrize(("width", "height"), [(400, 10), (10, 400), (50, 47)])
def test_a_crop_that_never_fits_is_the_largest_central_one(width: int, height: int) -> None:
    theirs = T.RandomResizedCrop.get_params(picture(width, height), [3.0, 4.0], list(RATIO))
    assert crop_box(width, height, (3.0, 4.0), RATIO, rng()) == tuple(theirs)


def test_boxes_lie_inside_the_image() -> None:
    ours, _ = boxes(33, 21, (0.08, 1.0))
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2]).max() == 21
    assert (ours[:, 1] + ours[:, 3]).max() == 33


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_training_is_torchvisions_resized_crop_of_that_box(flip: float) -> None:
    settings = Preprocess(size=None, crop=16, interpolation="bicubic")
    image = picture(40, 30)
    top, left, height, width = crop_box(40, 30, (0.2, 1.0), RATIO, rng(7))
    expected = T.functional.resized_crop(image, top, left, height, width, [16, 16], MODES["bicubic"])
    expected = T.functional.hflip(expected) if flip else expected
    expected = T.Normalize(settings.mean, settings.std)(T.functional.to_tensor(expected))
    assert torch.equal(training(settings, (0.2, 1.0), flip)(image, rng(7))[0], expected)


def test_half_of_the_views_are_mirrored() -> None:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(1, 64).repeat(64, 0))
    transform, generator = training(Preprocess(size=None, crop=8), (0.5, 1.0), 0.5), rng(3)
    views = [transform(image.convert("RGB"), generator)[0] for _ in range(400)]
    share = sum(bool(view[0, 0, 0] > view[0, 0, -1]) for view in views) / 400
    assert abs(share - 0.5) < 0.1


def test_only_the_given_generator_decides_a_view() -> None:
    transform, image = training(Preprocess(size=None, crop=8), (0.2, 1.0), 0.5), picture(20, 20)
    before = torch.random.get_rng_state()
    first = transform(image, rng(5))[0]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(transform(image, rng(5))[0], first)
    assert not torch.equal(transform(image, rng(6))[0], first)


def test_transforms_travel_to_other_processes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for transform in (evaluation(Preprocess()), training(Preprocess(), (0.2, 1.0), 0.5)):
            assert pickle.loads(pickle.dumps(transform)) == transform


def test_channels_and_range_are_the_wanted_ones() -> None:
    image = Image.fromarray(np.array([[[255, 0, 51]]], np.uint8))
    plain = Preprocess(mean=(0, 0, 0), std=(1, 1, 1), size=None, crop=1)
    caffe = plain.model_copy(update={"channel_order": "bgr", "input_range": 255, "mean": (1.0, 2.0, 3.0)})
    assert normalized(image, plain).flatten().tolist() == pytest.approx([1, 0, 0.2])
    assert normalized(image, caffe).flatten().tolist() == pytest.approx([50, -2, 252])


def test_what_a_later_version_added_is_written_only_where_it_is_used() -> None:
    plain = Preprocess(size=None)
    assert set(plain.model_dump()) == {"mean", "std", "size", "crop", "interpolation"}
    bgr = plain.model_copy(update={"channel_order": "bgr"})
    assert bgr.model_dump()["channel_order"] == "bgr"
    assert Preprocess.model_validate(bgr.model_dump()) == bgr


@pytest.mark.parametrize(("start", "first"), [("nearest", 2), ("below", 1)])
def test_the_crop_of_an_odd_margin_begins_as_stated(start: str, first: int) -> None:
    columns = np.broadcast_to(np.arange(7, dtype=np.uint8)[None, :, None], (4, 7, 3))
    colors = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    settings = Preprocess.model_validate({"size": None, "crop": 4, "crop_start": start, **colors})
    (view,) = evaluation(settings)(Image.fromarray(np.ascontiguousarray(columns)), rng())
    assert (view[0, 0] * 255).round().tolist() == [first, first + 1, first + 2, first + 3]
