"""What is known of a network without building it is what building it gives; our residual blocks are torchvision's."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import resnet as theirs

from transferbench import backbones
from transferbench.backbones import Architecture, Calculable
from transferbench.backbones import _residual_blocks as ours
from transferbench.errors import UserError

VIT = {"image_size": 30, "patch_size": 8, "dim": 24, "depth": 2, "heads": 3}
SWIN = {"image_size": 30, "patch_size": 2, "dim": 12, "depths": (2, 0, 1), "heads": (1, 2, 5), "window": 4}
CHANGES: dict[str, list[dict[str, Any]]] = {
    "vit": [
        *(
            {"class_token": a, "registers": b, "position_for_prefix": c}
            for a, b, c in itertools.product((0, 1), repeat=3)
        ),
        *({"conv_stem": True}, {"qkv_bias": False, "layer_scale": True}, {"mlp": "swiglu", "mlp_ratio": 3.5}),
        *({"norm_pooled": True, "pooling": "mean"}, {"mlp_ratio": 0.05}, {"patch_size": 1, "conv_stem": True}),
    ],
    "swin": [{}, {"window": 1}, {"window": 64}, {"qkv_bias": False, "mlp_ratio": 0.5}, {"depths": (1,), "heads": (3,)}],
}
REFUSED: dict[str, list[dict[str, Any]]] = {
    "vit": [{"heads": 5}, {"mlp": "swiglu", "mlp_ratio": 1.125}, {"dim": 6, "heads": 1, "conv_stem": True}],
    "swin": [{"heads": (1, 2)}, {"heads": (13, 2, 5)}, {"depths": (), "heads": ()}],
}
SMALL = {"vit": VIT, "swin": SWIN}


def cases(of: dict[str, list[dict[str, Any]]]) -> list[Any]:
    return [
        pytest.param(family, {**SMALL[family], **each}, id=f"{family}-{each}") for family in of for each in of[family]
    ]


@pytest.mark.parametrize(("family", "arguments"), cases(CHANGES))
def test_calculated_tensors_are_those_of_the_network(family: str, arguments: dict[str, Any]) -> None:
    full = backbones.complete(Architecture(family=family, arguments=arguments))
    assert isinstance(backbones.FAMILIES.load(family), Calculable)
    built = backbones._built(full)
    assert list(backbones.expected_shapes(full).items()) == list(built.shapes.items())
    assert backbones.width(full) == built.width
    assert backbones._tensors_of(full.model_dump_json()).beside == built.beside


@pytest.mark.parametrize(("family", "arguments"), cases(REFUSED))
def test_what_cannot_be_built_is_not_calculated(family: str, arguments: dict[str, Any]) -> None:
    architecture = Architecture(family=family, arguments=arguments)
    for tried in (backbones.expected_shapes, lambda each: backbones.build(each, device="meta")):
        with pytest.raises(UserError, match=f"There is no {family} of these arguments"):
            tried(architecture)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("BasicBlock", {}),
        ("Bottleneck", {}),
        ("Bottleneck", {"groups": 2, "base_width": 48}),
    ],
    ids=["basic", "bottleneck", "groups"],
)
def test_a_block_is_torchvisions_in_weights_outputs_and_gradients(kind: str, more: dict[str, int]) -> None:
    made: list[nn.Module] = []
    for room in (theirs, ours):
        torch.manual_seed(0)
        block = getattr(room, kind)
        out = 8 * block.expansion
        shortcut = nn.Sequential(room.conv1x1(12, out, 2), nn.BatchNorm2d(out))
        made.append(block(12, 8, 2, shortcut, **more))
    states = [each.state_dict() for each in made]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    results = []
    for each in made:
        images = torch.randn(2, 12, 6, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        output = each(images)
        output.square().sum().backward()
        results.append([output, images.grad, *(parameter.grad for parameter in each.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_basic_block_has_no_groups() -> None:
    for more in ({"groups": 2}, {"width_per_group": 128}):
        with pytest.raises(UserError, match="basic blocks have groups=1"):
            backbones.build(Architecture(family="resnet", arguments={"depth": 18, **more}), device="meta")
