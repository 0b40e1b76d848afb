"""The detector gives the numbers that Detectron2 gave (golden_detection/README.md), and live where it is installed."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from detection_by_detectron2 import numbers, shortened
from detection_cases import CASES, GRADIENTS, SEED, STATISTICS, Case, in_float64, ours, samples

from transferbench.detection.model.names import to_detectron2
from transferbench.detection.targets.masks import paste

GOLDEN = Path(__file__).parents[1] / "golden_detection"
LIVE = importlib.util.find_spec("detectron2") is not None

CLOSE = 1e-8
"""The largest difference in float64, relative to the largest element: ten thousand times what was seen between kernels
(golden_detection/README.md)."""
IN_FLOAT32 = 1e-3
"""The same of a loss in float32: a hundred times what was seen."""

every_case = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "r18" else []) for name in CASES]
)
"""What `r18` goes through, `r50` or `r18_boxes` goes through too."""


@cache
def computed(name: str) -> dict[str, np.ndarray]:
    """Our numbers in float64 under the names of `detection_by_detectron2.numbers`."""
    with in_float64():
        return numbers_of_ours(CASES[name])


def numbers_of_ours(case: Case) -> dict[str, np.ndarray]:
    detector, images = ours(case), samples(case)
    found: dict[str, torch.Tensor] = {}
    detector.eval()
    with torch.no_grad():
        maps = detector.maps(images)
        found |= {f"map {number}": each for number, each in enumerate(maps)}
        said = detector.rpn(maps)
        found["anchors"] = said.anchors
        proposals = detector.rpn.proposals(said, [(112, 144), (96, 128)])
    for number, (boxes, image, each) in enumerate(zip(proposals, images, detector.detect(images), strict=True)):
        found |= {f"proposals {number}": boxes, f"boxes {number}": each.boxes}
        found |= {f"scores {number}": each.scores, f"labels {number}": each.labels}
        if each.masks is not None:
            found[f"masks {number}"] = paste(each, image.size)
    losses = detector.train().losses(images, torch.Generator().manual_seed(SEED))
    torch.stack(list(losses.values())).sum().backward()
    found |= losses
    theirs = to_detectron2(detector.state_dict())
    for own, parameter in detector.named_parameters():
        if theirs[own] in GRADIENTS and parameter.grad is not None:
            found[f"gradient {theirs[own]}"] = parameter.grad
    found |= {f"after {theirs[own]}": each for own, each in detector.state_dict().items() if theirs[own] in STATISTICS}
    return {key: each.detach().numpy() for key, each in found.items()}


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def both(name: str, *starts: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Ours and Detectron2's of every number whose name begins so; both must have the same ones."""
    found, wanted = shortened(computed(name)), golden(name)
    keys = {key for key in (*found, *wanted) if key.startswith(starts)}
    assert keys
    return [(key, found[key], wanted[key]) for key in sorted(keys)]


@every_case
@pytest.mark.parametrize(
    "starts",
    [
        ("loss",),
        ("gradient", "size of gradient"),  # and with it what is trained at all
        ("after",),  # the running statistics
        ("map", "size of map"),
        ("proposals", "boxes"),
        ("scores", "labels"),
    ],
    ids=lambda starts: starts[0],
)
def test_the_numbers_are_detectron2s(name: str, starts: tuple[str, ...]) -> None:
    for key, found, wanted in both(name, *starts):
        np.testing.assert_allclose(found, wanted, rtol=CLOSE, atol=CLOSE * np.abs(wanted).max(initial=0), err_msg=key)


@every_case
def test_the_anchors_are_detectron2s(name: str) -> None:
    [(_, found, wanted)] = both(name, "anchors")
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["r50", pytest.param("r18_fpn", marks=pytest.mark.slow)])
def test_losses_in_float32_are_those_in_float64(name: str) -> None:
    found = {key: each for key, each in numbers_of_ours(CASES[name]).items() if key.startswith("loss")}
    assert {each.dtype for each in found.values()} == {np.dtype(np.float32)}
    for key, each in found.items():
        assert abs(each / golden(name)[key] - 1) <= IN_FLOAT32, key


@pytest.mark.parametrize("name", ["r50", "r18_fpn"])
def test_masks_are_detectron2s_to_the_pixel(name: str) -> None:
    for key, found, wanted in both(name, "masks"):
        assert np.unpackbits(wanted).any()
        np.testing.assert_array_equal(found, wanted, err_msg=key)


@pytest.mark.skipif(not LIVE, reason="detectron2 is not installed")
@every_case
def test_live_beside_detectron2_every_number_is_the_same(name: str) -> None:
    found = numbers_of_ours(CASES[name])  # in float32, as both are used
    wanted = numbers(CASES[name])
    assert found.keys() == wanted.keys()
    for key in wanted:
        scale = 2e-5 * max(1e-9, np.abs(wanted[key]).max()) if key.startswith("gradient") else 0
        np.testing.assert_allclose(found[key], wanted[key], rtol=1e-6, atol=scale, err_msg=key)
