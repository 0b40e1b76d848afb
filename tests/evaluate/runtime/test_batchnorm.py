"""Normalization over two processes is torch's own over the whole batch."""

from typing import Any

import pytest
import torch
from torch import nn

from transferbench.runtime import Runtime
from transferbench.runtime.sync_batchnorm import SynchronizedBatchNorm, synchronize

ALONE = Runtime(torch.device("cpu"))


@pytest.fixture(scope="module")
def whole(inputs: dict[str, Any]) -> dict[str, Any]:
    """What torch's batch normalization finds with all images in one process, as `one_of_two.py` does with halves."""
    network = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)), nn.Flatten(), nn.BatchNorm1d(48, momentum=None))
    network.load_state_dict(inputs["network"])
    for step in inputs["images"]:
        images = step.clone().requires_grad_()
        network.zero_grad()
        out = network(images)
        (out * inputs["slope"]).sum().backward()
    return {
        "out": out.detach(),
        "input gradient": images.grad,
        "gradients": {name: parameter.grad for name, parameter in network.named_parameters()},
        "network": {name: tensor.clone() for name, tensor in network.state_dict().items()},
        "tested": network.eval()(inputs["images"][0]).detach(),
    }


@pytest.mark.parametrize("what", ["out", "input gradient"])
def test_both_halves_together_are_the_whole(ranks: list[dict[str, Any]], whole: dict[str, Any], what: str):
    halves = [rank["normalized"][what] for rank in ranks]
    torch.testing.assert_close(torch.cat(halves), whole[what], rtol=1e-5, atol=1e-5)


def test_parameter_gradients_add_up_to_the_whole(ranks: list[dict[str, Any]], whole: dict[str, Any]):
    for name, expected in whole["gradients"].items():
        total = sum(rank["normalized"]["gradients"][name] for rank in ranks)
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)


def test_running_statistics_and_test_output_are_those_of_the_whole(ranks: list[dict[str, Any]], whole: dict[str, Any]):
    for rank in ranks:
        assert rank["normalized"]["network"].keys() == whole["network"].keys()
        torch.testing.assert_close(rank["normalized"]["network"], whole["network"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(rank["normalized"]["tested"], whole["tested"], rtol=1e-5, atol=1e-5)


def test_a_single_process_keeps_its_network():
    network = nn.Sequential(nn.BatchNorm2d(3))
    assert synchronize(network, ALONE) is network
    assert type(network[0]) is nn.BatchNorm2d


def test_under_autocast_statistics_stay_in_float32():
    """Values far from zero: variance from half-precision sums would be lost."""
    module = SynchronizedBatchNorm(nn.BatchNorm1d(2), ALONE)
    x = 1000 + torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    torch.testing.assert_close(out, nn.BatchNorm1d(2)(x), rtol=1e-4, atol=1e-3)


def test_an_input_without_channels_is_refused():
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        SynchronizedBatchNorm(nn.BatchNorm1d(2), ALONE).eval()(torch.zeros(2))
