"""All tokens of a layer: a vision transformer's patches or a ResNet's places, joined, flattened and kept in float16."""

import numpy as np
import pytest
import torch
from torch import nn

from transferbench.backbones import Architecture, build
from transferbench.errors import UserError
from transferbench.features.extraction import extract
from transferbench.features.spec import FeatureSpec, forward
from transferbench.features.tokens import TokenSpec, shape
from transferbench.runtime import Runtime

SMALL = {"image_size": 16, "patch_size": 8, "dim": 64, "depth": 3, "heads": 1, "registers": 2}
HERE = Runtime(torch.device("cpu"))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def vit() -> nn.Module:
    return build(Architecture(family="vit", arguments=SMALL)).eval()


def taken(backbone: nn.Module, images: torch.Tensor, **settings) -> torch.Tensor:
    spec = TokenSpec(**settings)
    return forward(backbone, images, spec).unflatten(1, shape(backbone, images, spec))


@torch.no_grad()
@pytest.mark.parametrize("norm", [True, False])
def test_tokens_of_blocks_are_what_the_network_computes(norm: bool, vit: nn.Module, images: torch.Tensor):
    blocks = vit.tokens(images, 3, norm)
    torch.testing.assert_close(taken(vit, images, norm=norm, tokens="all"), blocks[2])
    torch.testing.assert_close(taken(vit, images, norm=norm), blocks[2][:, 3:])
    beside = taken(vit, images, layer="last:2", norm=norm)
    torch.testing.assert_close(beside, torch.cat(blocks[1:], 2)[:, 3:])
    mean = taken(vit, images, layer="last:3", several="mean", norm=norm)
    torch.testing.assert_close(mean, torch.stack(blocks).mean(0)[:, 3:])


@torch.no_grad()
def test_the_places_of_a_map_are_its_tokens(tiny_candidate, images: torch.Tensor):
    backbone = tiny_candidate.backbone.eval()
    found = taken(backbone, images)
    last = backbone.stages(images)["layer4"]
    assert found.shape == (3, last.shape[2] * last.shape[3], 64)
    torch.testing.assert_close(found[1, 1], last[1, :, 0, 1])
    torch.testing.assert_close(found.mean(1), forward(backbone, images, FeatureSpec()))
    assert torch.equal(taken(backbone, images, tokens="all"), found)
    with pytest.raises(UserError, match=r"the layers have 16 x 32, 4 x 64 tokens x channels, which do not become one"):
        taken(backbone, images, layer="last:2")
    with pytest.raises(UserError, match=r"Layer 'avgpool'|Unknown layer"):
        taken(backbone, images, layer="avgpool")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"layer": "pooled"}, "layer=pooled is one vector and no tokens"),
        ({"several": "mean"}, "several=mean is for layer=last:N"),
        ({"layer": "layer3", "norm": False}, "norm=false is for layer=last"),
        ({"layer": "last:0"}, "expected a number of layers from 1 on"),
    ],
)
def test_what_is_no_reading_of_tokens_is_refused(settings: dict, told: str):
    with pytest.raises(ValueError, match=told):
        TokenSpec(**settings)


def test_tokens_are_kept_in_half_the_bytes_and_as_they_were_rounded(tiny_candidate, tiny_images, cache):
    images = tiny_images(12)
    kept = {
        name: extract(tiny_candidate, images, cache, HERE, 0, TokenSpec.model_validate({"kept": name})).features
        for name in ("float16", "float32")
    }
    assert {name: each.dtype for name, each in kept.items()} == {"float16": np.float16, "float32": np.float32}
    assert kept["float16"].nbytes * 2 == kept["float32"].nbytes == 12 * 4 * 64 * 4
    np.testing.assert_array_equal(kept["float16"], kept["float32"].astype(np.float16))


def test_tokens_beyond_float16_are_refused_with_what_to_do(tiny_candidate, tiny_images, tmp_path):
    with torch.no_grad():
        for name, p in tiny_candidate.backbone.named_parameters():
            p.mul_(1e6 if name.startswith("bn1") else 1)
    with pytest.raises(UserError, match="or the features reach beyond float16"):
        extract(tiny_candidate, tiny_images(4), tmp_path, HERE, 0, TokenSpec())
