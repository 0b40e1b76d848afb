"""Maps of features are the places of the network itself, wherever they are taken."""

import pytest
import torch
from labeled_shapes import TOKENS, candidate

from transferbench.backbones import Architecture, build
from transferbench.checkpoints import digest
from transferbench.errors import UserError
from transferbench.segmentation.dense_features import DenseFeatures, DenseReading, padded, patch_side
from transferbench.segmentation.dilation import dilated


def images(height: int, width: int) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_patches_are_laid_out_in_rows_without_class_and_register_tokens():
    backbone = candidate("vit", **TOKENS).backbone.eval()
    x = images(24, 40)
    with torch.no_grad():
        tokens = backbone.tokens(x, 2, True)
    found = DenseFeatures(backbone, DenseReading(layer="last:2"))(x)
    assert found.shape == (2, 48, 3, 5)
    for row in range(3):
        for column in range(5):
            at = 3 + row * 5 + column
            expected = torch.cat([each[:, at] for each in tokens], 1)
            torch.testing.assert_close(found[:, :, row, column], expected, atol=1e-5, rtol=1e-5)


def test_last_is_what_the_stage_of_that_name_is():
    backbone = candidate("vit", **TOKENS).backbone.eval()
    x = images(32, 32)
    with torch.no_grad():
        expected = backbone.stages(x)["last"]
    torch.testing.assert_close(DenseFeatures(backbone, DenseReading())(x), expected, atol=1e-5, rtol=1e-5)
    unnormed = DenseFeatures(backbone, DenseReading(norm=False))(x)
    assert (unnormed - expected).abs().max() > 1e-3


def test_stages_of_several_sizes_are_enlarged_to_the_finest():
    backbone = candidate(depth=10, width=0.125).backbone.eval()
    x = images(64, 96)
    with torch.no_grad():
        stages = backbone.stages(x)
    found = DenseFeatures(backbone, DenseReading(layer="last:2"))(x)
    width = stages["layer3"].shape[1]
    assert found.shape[2:] == stages["layer3"].shape[2:] == (4, 6)
    torch.testing.assert_close(found[:, :width], stages["layer3"], atol=1e-4, rtol=1e-4)
    coarse = torch.nn.functional.interpolate(stages["layer4"], (4, 6), mode="bilinear")
    torch.testing.assert_close(found[:, width:], coarse, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"depth": 10, "width": 0.125},
        {"depth": 26, "width": 0.125},
        {"depth": 26, "width": 0.125, "stride_in_1x1": True},
        {"depth": 10, "width": 0.125, "stem": "deep"},
    ],
    ids=["basic", "bottleneck", "stride in 1x1", "deep"],
)
def test_a_dilated_network_gives_what_the_plain_one_does_wherever_that_looks(arguments: dict):
    judged = candidate(**arguments)
    plain, wide = judged.backbone.eval().double(), dilated(judged.backbone.eval()).double()
    x = images(70, 90).double()
    with torch.no_grad():
        expected, found = plain.stages(x), wide.stages(x)
    assert found["layer4"].shape[2:] == found["layer2"].shape[2:] == expected["layer2"].shape[2:]
    for name, step in (("layer2", 1), ("layer3", 2), ("layer4", 4)):
        torch.testing.assert_close(found[name][:, :, ::step, ::step], expected[name], atol=1e-9, rtol=1e-9)


def test_the_backbone_itself_is_left_as_it_was():
    judged = candidate(depth=10, width=0.125)
    judged.backbone.train()
    DenseFeatures(judged.backbone, DenseReading(dilated=True))(images(64, 64))
    assert digest(judged.backbone.state_dict()) == judged.digest
    assert judged.backbone.layer4[0].conv1.stride == (2, 2)
    assert all(module.training for module in judged.backbone.modules())


@pytest.mark.parametrize(("family", "arguments"), [("vit", TOKENS), ("resnet", {"depth": 10, "avg_down": True})])
def test_what_cannot_be_dilated_is_refused(family: str, arguments: dict):
    backbone = candidate(family, **arguments).backbone
    with pytest.raises(UserError, match=r"dilated=true.*Leave it out"):
        DenseFeatures(backbone, DenseReading(dilated=True))


def test_a_layer_without_places_is_refused():
    backbone = candidate().backbone
    with pytest.raises(ValueError, match="feature for each place"):
        DenseReading(layer="pooled")
    vectors = build(Architecture(family="vit", arguments={**TOKENS, "pooling": "mean"}))
    with pytest.raises(UserError, match="its places are not known"):
        DenseFeatures(vectors, DenseReading(layer="fc_norm"))(images(32, 32))
    with pytest.raises(UserError, match="layer"):
        DenseFeatures(backbone, DenseReading(layer="layer9"))(images(32, 32))


def test_patches_are_made_whole_with_zeros_all_around():
    backbone = candidate("vit", **TOKENS).backbone
    assert patch_side(backbone) == 8
    assert patch_side(candidate().backbone) == 1
    x = torch.ones(1, 3, 13, 16)
    whole = padded(x, 8)
    assert whole.shape == (1, 3, 16, 16)
    assert whole[0, 0, :, 0].tolist() == [0.0] + [1.0] * 13 + [0.0, 0.0]
    assert padded(x, 1) is x
    found = DenseFeatures(backbone, DenseReading())(x)
    torch.testing.assert_close(found, DenseFeatures(backbone, DenseReading())(whole))
