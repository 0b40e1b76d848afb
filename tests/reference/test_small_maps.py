"""The weights' gradient of convolutions of small maps against autograd's in float64; all else is torch's own."""

import copy

import pytest
import torch
from torch import nn

from decorssl.fused import small_maps
from decorssl.fused.small_maps import SmallMapConv2d, neighborhoods
from transferbench.backbones import Architecture, build


def of_both(channels: int, out: int, side: int, stride: int) -> list[tuple[torch.Tensor, ...]]:
    """Output, gradient of the images and of the weights: ours in bfloat16, torch's, and torch's in float64."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(6, channels, side, side, generator=draw).bfloat16().float()
    plain = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
    with torch.no_grad():
        plain.weight.copy_(plain.weight.bfloat16())
    found: list[tuple[torch.Tensor, ...]] = []
    for dtype, prepared in ((torch.float32, True), (torch.float32, False), (torch.float64, False)):
        layer, seen = copy.deepcopy(plain).to(dtype), images.clone().to(dtype).requires_grad_()
        if prepared:
            small_maps.prepare(layer)
            assert type(layer) is SmallMapConv2d
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            made = layer(seen)
            weights = torch.linspace(-1, 1, made.numel()).view(made.shape).bfloat16().to(made.dtype)
            made.backward(weights)
        assert seen.grad is not None
        assert layer.weight.grad is not None
        found.append((made.detach(), seen.grad, layer.weight.grad))
    return found


@pytest.mark.parametrize(("side", "stride"), [(4, 1), (8, 2), (7, 2), (3, 1), (2, 2), (1, 1)])
def test_outputs_and_images_gradients_are_torchs_and_the_weights_gradient_is_that_of_float64(side: int, stride: int):
    ours, plain, exact = of_both(5, 7, side, stride)
    assert torch.equal(ours[0], plain[0])
    assert torch.equal(ours[1], plain[1])
    scale = float(exact[2].abs().max())
    torch.testing.assert_close(ours[2].double(), exact[2], rtol=1e-2, atol=1e-2 * scale)
    own, theirs = (float((each[2].double() - exact[2]).abs().max()) for each in (ours, plain))
    assert own <= 2 * theirs + 1e-3 * scale


def test_rows_are_the_places_around_each_place():
    images = torch.arange(2 * 3 * 5 * 4.0).view(2, 3, 5, 4)
    for stride in (1, 2):
        columns = nn.functional.unfold(images, 3, padding=1, stride=stride).view(2, 3, 9, -1)
        assert torch.equal(neighborhoods(images, stride), columns.permute(0, 3, 2, 1).reshape(-1, 27))


def test_only_plain_convolutions_are_prepared_and_the_network_keeps_its_names_and_what_it_computes():
    network = build(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125, "stem": "cifar"})).eval()
    names, images = list(network.state_dict()), torch.randn(2, 3, 16, 16)
    before = network(images)
    small_maps.prepare(network)
    kinds = [(type(each), each.kernel_size) for each in network.modules() if isinstance(each, nn.Conv2d)]
    assert {kind for kind, size in kinds if size == (3, 3)} == {SmallMapConv2d}
    assert {kind for kind, size in kinds if size == (1, 1)} == {nn.Conv2d}
    assert list(network.state_dict()) == names
    assert torch.equal(network(images), before)
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False), nn.Conv2d(4, 4, 3, padding=1))
    small_maps.prepare(grouped)
    assert {type(each) for each in grouped} == {nn.Conv2d}
