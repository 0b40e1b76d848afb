"""A layer's features are what the network computes there, pooled by hand; what cannot be is refused with what can."""

import pytest
import torch
from torch import nn

from transferbench.backbones import Architecture, build
from transferbench.errors import UserError
from transferbench.features.spec import FeatureSpec, forward

SMALL = {"image_size": 16, "patch_size": 8, "dim": 64, "depth": 2, "heads": 1}


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def resnet(tiny_candidate) -> nn.Module:
    return tiny_candidate.backbone.eval()


@pytest.fixture
def vit() -> nn.Module:
    return build(Architecture(family="vit", arguments=SMALL | {"registers": 2})).eval()


@torch.no_grad()
@pytest.mark.parametrize("layer", ["stem", "layer1", "layer3"])
def test_a_stage_is_averaged_over_its_places(layer, resnet, images):
    x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))
    for name in ("layer1", "layer2", "layer3"):
        if layer != "stem" and name <= layer:
            x = getattr(resnet, name)(x)
    torch.testing.assert_close(forward(resnet, images, FeatureSpec(layer=layer)), x.mean((2, 3)))
    highest = forward(resnet, images, FeatureSpec(layer=layer, pooling="max"))
    torch.testing.assert_close(highest, x.amax((2, 3)))


@torch.no_grad()
def test_the_last_stage_pooled_is_the_output_and_a_module_inside_a_stage_is_reached(resnet, images):
    torch.testing.assert_close(forward(resnet, images, FeatureSpec(layer="layer4")), forward(resnet, images))
    inside = forward(resnet, images, FeatureSpec(layer="layer2.0"))
    torch.testing.assert_close(inside, resnet.stages(images)["layer2"].mean((2, 3)))
    assert not any(module._forward_hooks for module in resnet.modules())


@torch.no_grad()
def test_a_block_of_a_vision_transformer_gives_its_class_token_or_its_patches(vit, images):
    tokens = vit._pos_embed(vit.patch_embed(images))
    tokens = vit.blocks[0](vit.norm_pre(vit.patch_drop(tokens)))
    assert tokens.shape == (3, 1 + 2 + 4, 64)
    by_pooling = {"token": tokens[:, 0], "mean": tokens[:, 3:].mean(1), "max": tokens[:, 3:].amax(1)}
    for pooling, expected in by_pooling.items():
        found = forward(vit, images, FeatureSpec.model_validate({"layer": "blocks.0", "pooling": pooling}))
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(forward(vit, images, FeatureSpec(layer="norm", pooling="token")), forward(vit, images))


@torch.no_grad()
def test_a_live_module_has_layers_too(images):
    live = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 5)).eval()
    torch.testing.assert_close(forward(live, images, FeatureSpec(layer="0")), live[0](images).mean((2, 3)))
    torch.testing.assert_close(forward(live, images, FeatureSpec(layer="2")), live[:3](images))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (FeatureSpec(layer="layer33"), "Unknown layer 'layer33'. Did you mean 'layer3'"),
        (FeatureSpec(layer=""), "Known: .*stem"),
        (FeatureSpec(layer="layer3", pooling="token"), "pooling=token is not possible"),
        (FeatureSpec(layer="layer1.0.relu"), "gives 2 output"),
        (
            FeatureSpec(pooling="token+mean"),
            r"gives \[3, 64, \d, \d\] with 0 class .* pooling=token.mean is not possible",
        ),
        (FeatureSpec(layer="last:6"), "resnet10-w0.125-cifar has 5 blocks or stages. Expected last:5 or fewer"),
        (FeatureSpec(norm=False), "norm=false: resnet10.* has no norm behind its last layer"),
        (FeatureSpec(layer="projector"), "Unknown layer 'projector'.* Known: .*last, .*layer4, .*pooled, .*stem"),
    ],
)
def test_what_cannot_be_taken_is_refused(asked, reason, resnet, images):
    with pytest.raises(UserError, match=reason):
        forward(resnet, images, asked)


def test_features_are_float32_whatever_the_layer_computes_in(resnet, images):
    for layer in ("pooled", "layer2"):
        found = forward(resnet, images, FeatureSpec(layer=layer, precision="bfloat16"))
        exact = forward(resnet, images, FeatureSpec(layer=layer))
        assert found.dtype == torch.float32
        assert 0 < (found - exact).abs().max() < 0.2
