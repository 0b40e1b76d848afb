"""Each random operation against torchvision or PIL, given the parameters it drew."""

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from transferbench.data.augment import Blur, Crop, Flip, Gray, Invert, Jitter, Solarize
from transferbench.data.transforms import crop_box


@pytest.fixture
def image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((40, 48), Image.Resampling.BICUBIC)


def rng(seed: int = 4) -> np.random.Generator:
    return np.random.default_rng(seed)


def same(a: Image.Image, b: Image.Image) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


def test_crop_is_torchvisions_at_the_same_box(image: Image.Image) -> None:
    box = crop_box(40, 48, (0.2, 0.7), (3 / 4, 4 / 3), rng())
    expected = F.resized_crop(image, *box, [32, 32], InterpolationMode.BICUBIC)
    assert same(Crop(op="crop", size=32, scale=(0.2, 0.7))(image, rng()), expected)


def test_jitter_applies_the_four_changes_in_the_order_drawn(image: Image.Image) -> None:
    draws = rng()
    draws.random()
    expected = image
    for change in draws.permutation(4):
        if change == 3:
            expected = F.adjust_hue(expected, draws.uniform(-0.1, 0.1))
        else:
            low, high = ((0.6, 1.4), (0.7, 1.3), (0.8, 1.2))[change]
            adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[change]
            expected = adjust(expected, draws.uniform(low, high))
    ours = Jitter(op="jitter", brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1, p=1)(image, rng())
    assert same(ours, expected)


def test_jitter_order_is_uniform() -> None:
    first = [int(rng(seed).permutation(4)[0]) for seed in range(400)]
    assert all(70 < first.count(change) < 130 for change in range(4))


def test_blur_is_pils_with_a_radius_from_the_range(image: Image.Image) -> None:
    draws = rng()
    draws.random()
    expected = image.filter(ImageFilter.GaussianBlur(draws.uniform(0.1, 2.0)))
    assert same(Blur(op="blur", p=1)(image, rng()), expected)


def test_blur_with_a_kernel_is_torchvisions(image: Image.Image) -> None:
    draws = rng()
    draws.random()
    radius = draws.uniform(0.1, 2.0)
    ours = Blur(op="blur", p=1, kernel=9)(image, rng())
    assert same(ours, F.gaussian_blur(image, [9, 9], [radius, radius]))
    assert not same(ours, Blur(op="blur", p=1)(image, rng()))


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (Gray(op="gray", p=1), lambda i: F.rgb_to_grayscale(i, 3)),
        (Solarize(op="solarize", p=1), lambda i: F.solarize(i, 128)),
        (Flip(op="flip", p=1), F.hflip),
        (Invert(op="invert", p=1), ImageOps.invert),
    ],
)
def test_certain_operations_are_torchvisions(operation, expected, image: Image.Image) -> None:
    assert same(operation(image, rng()), expected(image))


@pytest.mark.parametrize("make", [Gray, Solarize, Flip, Invert, Blur])
def test_probability_is_kept(make, image: Image.Image) -> None:
    operation = make(op=make.__name__.lower(), p=0.3)
    draws = rng()
    changed = sum(not same(operation(image, draws), image) for _ in range(300))
    assert 60 <= changed <= 120
