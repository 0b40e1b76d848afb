"""Machine code against PIL, and its numbers against numpy's: equal, not close."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import normalize, to_tensor

pytest.importorskip("numba")

from test_pixels import BOTH, BOXES, SIZES, by_pil, pictures

from transferbench.data import compiled, pixels
from transferbench.data.augment import Change, Crop, Jitter
from transferbench.data.compiled import blur as compiled_blur
from transferbench.data.compiled import drawing, kernels, programs
from transferbench.data.loading import generator, keys
from transferbench.data.pixels import blur
from transferbench.data.transforms import Preprocess

pytestmark = pytest.mark.usefixtures("machine_code")

PREPROCESS = Preprocess(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))
ORDERS = [[3, 4, 0, 5, 8, 10, 11], [0, 3, 2, 11], [11, 3], [1, 3, 2, 11]]


def numbers_of(operations: Sequence[Change], n: int, height: int, width: int) -> np.ndarray:
    return np.array([pixels.drawn(operations, (width, height), generator(1, 2, i)) for i in range(n)])


def normalized(images: np.ndarray) -> np.ndarray:
    mean, std = list(PREPROCESS.mean), list(PREPROCESS.std)
    return torch.stack([normalize(to_tensor(image), mean, std) for image in images]).numpy()


def by_code(operations: Sequence[Change], images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    sides = [[each.size] * 2 for each in operations if isinstance(each, Crop)] or [images.shape[1:3]]
    out = np.full((len(images), 3, *sides[-1]), np.nan, np.float32)
    compiled.make(compiled.program(operations), images, np.arange(len(images)), numbers, PREPROCESS, out)
    return out


@pytest.mark.parametrize("n", [1, 3])
def test_one_image_and_several_are_made_by_the_same_code(n: int) -> None:
    """What is compiled for the first is not compiled again in every loader process."""
    chains, images = [[BOTH[i] for i in order] for order in ORDERS[:2]], pictures(n, 40, 36)
    for chain, own in zip(
        chains, compiled.drawn(list(map(compiled.program, chains)), (36, 40), keys(0, 0, np.arange(n))), strict=True
    ):
        by_code(chain, images, own)
    assert len(programs.draw.signatures) == len(programs.make.signatures) == 1


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("operation", BOTH, ids=lambda o: o.op)
def test_each_operation_gives_pils_pixels(operation: Change, height: int, width: int) -> None:
    images, numbers = pictures(24, height, width), numbers_of([operation], 24, height, width)
    assert np.array_equal(by_code([operation], images, numbers), normalized(by_pil([operation], images, numbers)))


@pytest.mark.parametrize("which", range(4), ids=["brightness", "contrast", "saturation", "hue"])
def test_each_change_of_color_over_its_range(which: int) -> None:
    factors = np.linspace(-0.5, 0.5, 41) if which == 3 else np.linspace(0, 2.5, 41)
    jitter = Jitter(op="jitter", brightness=1, contrast=1, saturation=1, hue=0.5)
    numbers = np.zeros((41, 8))
    numbers[:, 0], numbers[:, 1:4], numbers[:, 4 + which] = which, -1, factors
    images = pictures(41, 24, 20)
    assert np.array_equal(by_code([jitter], images, numbers), normalized(by_pil([jitter], images, numbers)))


@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_hue_of_colors_of_the_whole_cube(step: int) -> None:
    jitter, numbers = Jitter(op="jitter", brightness=0, contrast=0, saturation=0, hue=0.5), np.zeros((1, 8))
    numbers[0, 0], numbers[0, 1:4], numbers[0, 7] = 3, -1, -0.21
    for start in range(0, 1 << 24, 1 << 20):
        index = np.arange(start + start // (1 << 20) % step, start + (1 << 20), step)
        # In two rows: other code would be compiled for an image of one.
        index = index[: len(index) // 2 * 2].reshape(1, 2, -1)
        cube = np.stack([index >> 16, index >> 8 & 255, index & 255], -1).astype(np.uint8)
        assert np.array_equal(by_code([jitter], cube, numbers), normalized(by_pil([jitter], cube, numbers)))


def test_boxes_shrink_in_the_order_of_the_pillow_that_is_installed() -> None:
    images, crop = pictures(len(BOXES), 90, 40), Crop(op="crop", size=24)
    numbers = np.array(BOXES, dtype=np.float64)
    assert np.array_equal(by_code([crop], images, numbers), normalized(by_pil([crop], images, numbers)))


@pytest.mark.parametrize("bound", [1, 2, 224, 3 * 10**9, 2**32 - 1])
def test_whole_numbers_are_numpys(bound: int) -> None:
    """Of large bounds a third of what is drawn is drawn again."""
    first, second = keys(3, 1, np.arange(2))[1].tolist()
    import numba

    stream, below = drawing.stream, drawing.below

    @numba.njit
    def numbers(first: np.uint64, second: np.uint64, bound: int) -> list[int]:
        state = stream(first, second)
        return [below(state, bound) for _ in range(200)]

    expected = generator(3, 1, 1).integers(bound, size=200).tolist()
    assert numbers(np.uint64(first), np.uint64(second), bound) == expected


@pytest.mark.parametrize("order", ORDERS)
def test_a_chain_gives_pils_pixels(order: list[int]) -> None:
    chain = [BOTH[i] for i in order]
    images, numbers = pictures(32, 40, 36), numbers_of(chain, 32, 40, 36)
    assert np.array_equal(by_code(chain, images, numbers), normalized(by_pil(chain, images, numbers)))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (300, 31), (9, 201), (1, 1)])
def test_the_numbers_are_numpys_over_several_views(height: int, width: int) -> None:
    chains = [[BOTH[i] for i in order] for order in ORDERS]
    programs, n = [compiled.program(chain) for chain in chains], 100
    numbers = compiled.drawn(programs, (width, height), keys(2**63 + 5, 70000, np.arange(n)))
    for i in range(n):
        rng = generator(2**63 + 5, 70000, i)
        for chain, ours in zip(chains, numbers, strict=True):
            assert ours[i].tolist() == list(pixels.drawn(chain, (width, height), rng))


def test_the_images_and_their_order_stay() -> None:
    images, flip = pictures(6, 16, 16), BOTH[11]
    before, rows = images.copy(), np.array([4, 4, 1])
    made = np.empty((3, 3, 16, 16), np.float32)
    compiled.make(compiled.program([flip]), images, rows, np.array([[1.0], [0.0], [1.0]]), PREPROCESS, made)
    assert np.array_equal(images, before)
    expected = normalized(np.stack([images[4, :, ::-1], images[4], images[1, :, ::-1]]))
    assert np.array_equal(made, expected)


def test_the_boxes_of_a_blur_are_those_of_batches() -> None:
    deviations = np.concatenate([np.linspace(0.01, 12, 4001), [2 / 3**0.5, 2.0]])
    reach, weights = blur.boxes(deviations)
    import numba

    boxes = compiled_blur.boxes

    @numba.njit
    def of_all(deviations: np.ndarray) -> list[tuple[int, int, int]]:
        return [boxes(deviation) for deviation in deviations]

    assert of_all(deviations) == list(zip(reach.tolist(), *weights.T.tolist(), strict=True))


def test_what_is_compiled_for_this_machine_is_not_announced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(kernels, "KEPT", tmp_path)
    monkeypatch.setattr(kernels, "MARK", tmp_path / "compiled")
    compiled.compile_once(said.append)
    assert len(said) == 2
    assert said[0].startswith("Compiling image operations for this machine, once")
    compiled.compile_once(said.append)
    assert len(said) == 2
