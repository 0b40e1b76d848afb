"""Operations on batches against the same operations of PIL and torchvision: equal, not close."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import adjust_hue, normalize, to_tensor

from transferbench.data import pixels
from transferbench.data.augment import Blur, Change, Crop, Flip, Gray, Invert, Jitter, Solarize
from transferbench.data.pixels import color, resizing
from transferbench.data.transforms import Preprocess, uniform

BOTH = [
    Crop(op="crop", size=24, scale=(0.05, 1.0), ratio=(0.3, 3.0)),
    Crop(op="crop", size=24, interpolation="bilinear"),
    Crop(op="crop", size=70, scale=(0.1, 0.3)),
    Jitter(op="jitter", brightness=0.8, contrast=0.8, saturation=0.8, hue=0.5, p=0.9),
    Gray(op="gray", p=0.5),
    Blur(op="blur", p=0.9, radius=(0.1, 2.0)),
    Blur(op="blur", p=0.9, radius=(2.0, 12.0)),
    *(Solarize(op="solarize", p=0.5, threshold=t) for t in (0, 128, 256)),
    Invert(op="invert", p=0.5),
    Flip(op="flip", p=0.5),
]
BOXES = [[0, 0, 90, 26], [0, 0, 90, 20], [3, 2, 30, 25], [1, 3, 36, 30], [0, 5, 22, 20], [2, 0, 23, 40]]
"""Higher than wide or not, shrunk, stretched or both, and by just twice as much one way (tall, narrow, for size 24)."""
SIZES = [(32, 32), (90, 51), (40, 100), (24, 24)]


def pictures(n: int, height: int, width: int) -> np.ndarray:
    """Noise, and smooth images with flat gray, black and white parts."""
    rng = np.random.default_rng([n, height, width])
    noise = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    for i in range(0, n, 2):
        small = Image.fromarray(noise[i, :5, :5]).resize((width, height), Image.Resampling.BICUBIC)
        noise[i] = np.asarray(small)
        noise[i, : height // 4] = rng.integers(0, 2) * 255
        noise[i, height // 4 : height // 3] = rng.integers(0, 256)
    return noise


def by_pil(operations: Sequence[Change], images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """`n h w 3`, one image and one operation at a time."""
    done = []
    for pixels_, row in zip(images, numbers.tolist(), strict=True):
        image = Image.fromarray(pixels_)
        for operation in operations:
            own, row = tuple(row[: operation.COUNT]), row[operation.COUNT :]
            image = operation.apply(image, own)
        done.append(np.asarray(image))
    return np.stack(done)


def in_batches(operations: Sequence[Change], images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return pixels.changed(operations, torch.from_numpy(images).permute(0, 3, 1, 2), numbers).permute(0, 2, 3, 1).numpy()


def numbers_of(operations: Sequence[Change], n: int, height: int, width: int, seed: int = 1) -> np.ndarray:
    return np.array([pixels.drawn(operations, (width, height), np.random.default_rng([seed, i])) for i in range(n)])


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("operation", BOTH, ids=lambda o: o.op)
def test_each_operation_gives_pils_pixels(operation: Change, height: int, width: int) -> None:
    images, numbers = pictures(24, height, width), numbers_of([operation], 24, height, width)
    expected = by_pil([operation], images, numbers)
    assert np.array_equal(in_batches([operation], images, numbers), expected)
    if operation.op not in ("flip", "invert", "solarize"):
        assert not np.array_equal(expected, images[:, : expected.shape[1], : expected.shape[2]])


@pytest.mark.parametrize("which", range(4), ids=["brightness", "contrast", "saturation", "hue"])
def test_each_change_of_color_over_its_range(which: int) -> None:
    factors = np.linspace(-0.5, 0.5, 41) if which == 3 else np.linspace(0, 2.5, 41)
    jitter = Jitter(op="jitter", brightness=1, contrast=1, saturation=1, hue=0.5)
    numbers = np.zeros((41, 8))
    numbers[:, 0], numbers[:, 1:4], numbers[:, 4 + which] = which, -1, factors
    images = pictures(41, 24, 20)
    assert np.array_equal(in_batches([jitter], images, numbers), by_pil([jitter], images, numbers))


@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_hue_of_colors_of_the_whole_cube(step: int) -> None:
    for start in range(0, 1 << 24, 1 << 20):
        index = np.arange(start + start // (1 << 20) % step, start + (1 << 20), step)
        cube = np.stack([index >> 16, index >> 8 & 255, index & 255], 1).astype(np.uint8)[None]
        expected = torch.from_numpy(np.asarray(adjust_hue(Image.fromarray(cube), 0.3)).copy()).permute(2, 0, 1)
        batch = torch.from_numpy(cube).permute(2, 0, 1)[None].float()
        assert torch.equal(color.hue(batch, torch.tensor([0.3], dtype=torch.float64))[0], expected.float())


def test_a_tall_box_shrinks_in_the_order_of_the_pillow_that_is_installed() -> None:
    images, numbers = pictures(len(BOXES), 90, 40), np.array(BOXES, dtype=np.float64)
    crop = Crop(op="crop", size=24)
    assert np.array_equal(in_batches([crop], images, numbers), by_pil([crop], images, numbers))
    assert resizing.down_first(np.array([66.0]), np.array([2.0]))[0] == (int(Image.__version__.split(".")[0]) >= 13)


def test_a_chain_gives_pils_pixels_and_tensors() -> None:
    chain = [BOTH[3], BOTH[4], BOTH[0], BOTH[5], BOTH[8], BOTH[11]]
    images, numbers = pictures(32, 40, 36), numbers_of(chain, 32, 40, 36)
    expected = by_pil(chain, images, numbers)
    batch = pixels.changed(chain, torch.from_numpy(images).permute(0, 3, 1, 2), numbers)
    assert np.array_equal(batch.permute(0, 2, 3, 1).numpy(), expected)
    preprocess = Preprocess(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))
    tensors = [normalize(to_tensor(image), list(preprocess.mean), list(preprocess.std)) for image in expected]
    assert torch.equal(pixels.normalized(batch, preprocess), torch.stack(tensors))


def test_the_batch_that_is_given_stays_as_it_is() -> None:
    images = torch.from_numpy(pictures(8, 16, 16)).permute(0, 3, 1, 2)
    before, flip = images.clone(), Flip(op="flip", p=1)
    pixels.changed([flip], images, np.ones((8, 1)))
    assert torch.equal(images, before)


def test_the_numbers_are_those_that_calling_draws() -> None:
    image, chain = Image.fromarray(pictures(1, 40, 36)[0]), [BOTH[3], BOTH[0], BOTH[4], BOTH[5], BOTH[11]]
    for seed in range(20):
        called, rng = image, np.random.default_rng(seed)
        for operation in chain:
            called = operation(called, rng)
        numbers = np.array([pixels.drawn(chain, (36, 40), np.random.default_rng(seed))])
        assert np.array_equal(by_pil(chain, np.asarray(image)[None], numbers)[0], np.asarray(called))


def test_uniform_is_numpys() -> None:
    ours, numpys = np.random.default_rng(3), np.random.default_rng(3)
    assert [uniform(0.6, 1.4, ours) for _ in range(99)] == [numpys.uniform(0.6, 1.4) for _ in range(99)]


def test_boxes_are_distributed_as_torchvisions() -> None:
    torch.manual_seed(0)
    image, crop = torch.empty(3, 32, 32), Crop(op="crop", size=32)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)])
    ours = np.array([crop.draw((32, 32), np.random.default_rng([5, i])) for i in range(3000)])
    for part in range(4):
        assert ks_2samp(ours[:, part], theirs[:, part]).pvalue > 1e-3


def test_a_kernel_of_torchvisions_is_not_to_be_had() -> None:
    assert pixels.can(BOTH)
    assert not pixels.can([*BOTH, Blur(op="blur", p=0.5, kernel=9)])
