"""A prepared network gives the plain one's features, and the plain one stays as it was."""

from typing import Any

import pytest
import torch
from torch import nn

from transferbench import backbones
from transferbench.backbones import Architecture, Backbone
from transferbench.backbones._library import LibraryBackbone
from transferbench.checkpoints import digest
from transferbench.checkpoints.live import Live
from transferbench.features import prepared
from transferbench.features.prepared import Prepared
from transferbench.features.spec import FeatureSpec, forward

CLOSE = 1e-5
"""Of the largest feature."""
NARROW = {"width": 0.25, "stem": "cifar"}
NETWORKS = {
    "resnet of basic blocks": ("resnet", {"depth": 18, **NARROW}),
    "resnet of bottlenecks": ("resnet", {"depth": 50, "width": 0.25}),
    "resnet with a deep stem": ("resnet", {"depth": 50, "width": 0.25, "stem": "deep", "avg_down": True}),
    "resnet with a bias in its stem": ("resnet", {"depth": 18, **NARROW, "conv1_bias": True}),
    "vit": ("vit", {"dim": 48, "depth": 2, "heads": 3, "patch_size": 8, "image_size": 32}),
    "timm": ("timm", {"name": "test_resnet"}),
}


def lively(family: str, arguments: dict[str, Any]) -> Backbone:
    """With statistics that batch norms of a trained network have: none of them does nothing."""
    backbone = backbones.build(Architecture(family=family, arguments=arguments)).eval()
    draw = torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=draw))
    return backbone


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layer", ["pooled", "last"])
def test_features_are_the_plain_networks_and_it_stays_as_it_was(name: str, layer: str) -> None:
    backbone, images = lively(*NETWORKS[name]), torch.randn(prepared.AT_A_TIME + 3, 3, 32, 32)
    before, wanted = digest(backbone.state_dict()), FeatureSpec(layer=layer)
    with torch.no_grad():
        expected = forward(backbone, images, wanted)
    found = Prepared(backbone, wanted)(images)
    assert off(found, expected) <= CLOSE
    assert digest(backbone.state_dict()) == before
    assert not found.is_inference()


@pytest.mark.parametrize("layer", ["conv1", "layer1.0.conv1", "layer1.0.bn1", "layer2", "stem"])
def test_layers_inside_are_those_of_the_plain_network(layer: str) -> None:
    backbone, images = lively("resnet", {"depth": 18, **NARROW}), torch.randn(4, 3, 32, 32)
    wanted = FeatureSpec(layer=layer)
    with torch.no_grad():
        assert off(Prepared(backbone, wanted)(images), forward(backbone, images, wanted)) <= CLOSE


def test_every_batch_norm_of_a_resnet_is_folded() -> None:
    for name in ("resnet of basic blocks", "resnet of bottlenecks", "resnet with a deep stem"):
        made = Prepared(lively(*NETWORKS[name]), FeatureSpec()).backbone
        assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())


@pytest.mark.parametrize("name", ["resnet of bottlenecks", "vit", "timm"])
def test_half_the_bits_are_enough_for_two_digits_and_are_converted_once(name: str) -> None:
    backbone, images = lively(*NETWORKS[name]), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = forward(backbone, images)
    compute = Prepared(backbone, FeatureSpec(precision="bfloat16_folded"))
    assert 1e-6 < off(compute(images), expected) < 0.05
    kinds = {m.weight.dtype for m in compute.backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert kinds == {torch.bfloat16}


class Flattening(nn.Module):
    """As many write it: `view` fails where maps lie channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 8, stride=8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.conv(images)
        return maps.view(len(maps), -1)


class OfTheBatch(nn.Module):
    """Its norm takes the statistics of the batch, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(images)).relu().mean((2, 3))


class Outside(Backbone):
    """Of a family that is no part of this package."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.architecture = Architecture(family="lab.convmixer", arguments={})

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.module(images)


@pytest.mark.parametrize("module", [Flattening, OfTheBatch])
@pytest.mark.parametrize("given", [lambda module: Live(module, 32), LibraryBackbone, Outside])
def test_code_that_is_not_known_is_used_as_it_is(module: Any, given: Any) -> None:
    backbone, images = given(module()).eval(), torch.randn(prepared.AT_A_TIME + 3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(Prepared(backbone, FeatureSpec())(images), backbone(images))
    assert prepared.memory_format(backbone, "float32") == torch.contiguous_format


def test_what_cannot_be_copied_is_used_as_it_is() -> None:
    class Stubborn(Backbone):
        architecture = Architecture(family="timm", arguments={})

        def __deepcopy__(self, memo: object) -> "Stubborn":
            raise TypeError("holds a lock")

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    module, images = Stubborn(), torch.randn(2, 3, 8, 8)
    compute = Prepared(module, FeatureSpec())
    assert compute.backbone is module
    assert torch.equal(compute(images), module(images))
