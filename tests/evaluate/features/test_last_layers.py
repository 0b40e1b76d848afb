"""What authors take of their last layers, written out literally from their evaluations, and what timm gives."""

import pydantic
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from transferbench import settings
from transferbench.backbones import Architecture, OutputBackbone, TokenBackbone, build
from transferbench.checkpoints.live import Live
from transferbench.errors import UserError
from transferbench.features.spec import FeatureSpec, forward, spec_of
from transferbench.tasks import TASKS

SMALL = {"image_size": 24, "patch_size": 8, "dim": 32, "depth": 5, "heads": 2, "registers": 2, "layer_scale": True}
SWIN = {"image_size": 32, "patch_size": 2, "dim": 8, "depths": (1, 1, 2), "heads": (1, 2, 4), "window": 2}


def images(side: int = 24) -> Tensor:
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))


def network(family: str, arguments: dict[str, object]) -> nn.Module:
    """Random weights, large enough that every block and norm does something."""
    found = build(Architecture(family=family, arguments=arguments), seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            scale = 0.5 if "norm" in name or "gamma" in name else 0.1
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return found


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    return network("vit", SMALL)


def outputs_of_blocks(vit, x: Tensor) -> list[Tensor]:
    """Of every block, in order, before the last norm."""
    x = vit._pos_embed(vit.patch_embed(x))
    found = []
    for block in vit.blocks:
        x = x + block.ls1(block.attn(block.norm1(x)))
        x = x + block.ls2(block.mlp(block.norm2(x)))
        found.append(x)
    return found


def dino(vit, x: Tensor, blocks: int, mean: bool) -> Tensor:
    """Class tokens of the last blocks through the norm, then the mean of the last one's patches (no registers)."""
    layers = [vit.norm(each) for each in outputs_of_blocks(vit, x)[len(vit.blocks) - blocks :]]
    output = torch.cat([each[:, 0] for each in layers], dim=-1)
    return torch.cat((output, layers[-1][:, 3:].mean(dim=1)), dim=-1) if mean else output


def i_jepa(vit, x: Tensor) -> Tensor:
    """The means of the last four layers."""
    return torch.cat([vit.norm(each)[:, 3:].mean(1) for each in outputs_of_blocks(vit, x)[-4:]], 1)


def retfound(vit, x: Tensor) -> Tensor:
    """The mean of the patches as the last block leaves them."""
    return outputs_of_blocks(vit, x)[-1][:, 3:].mean(1)


LITERAL = {
    "layer=last:4 pooling=token": (lambda v, x: dino(v, x, 4, False), 4 * 32),
    "layer=last:4 pooling=token+mean": (lambda v, x: dino(v, x, 4, True), 5 * 32),
    "pooling=token+mean": (lambda v, x: dino(v, x, 1, True), 2 * 32),
    "pooling=token": (lambda v, x: v(x), 32),
    "pooling=mean": (lambda v, x: v.forward_features(x)[:, 3:].mean(1), 32),
    "layer=last": (lambda v, x: v.stages(x)["last"].mean((2, 3)), 32),
    "pooling=max": (lambda v, x: v.forward_features(x)[:, 3:].amax(1), 32),
    "norm=false": (retfound, 32),
    "layer=last:4 pooling=mean": (i_jepa, 4 * 32),
    "layer=last:5 norm=false pooling=token": (
        lambda v, x: torch.cat([t[:, 0] for t in outputs_of_blocks(v, x)], 1),
        160,
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("written", LITERAL)
def test_it_is_what_the_authors_take(written, vit):
    literal, width = LITERAL[written]
    expected = literal(vit, images())
    found = forward(vit, images(), settings.read(FeatureSpec, {}, written.split()))
    assert found.shape == expected.shape == (3, width)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("normed", [True, False])
def test_tokens_are_those_that_timm_gives_of_the_same_network(normed, vit):
    theirs = vit.get_intermediate_layers(images(), n=3, return_prefix_tokens=True, norm=normed)
    ours = vit.tokens(images(), 3, normed)
    assert len(ours) == 3
    for tokens, (patches, prefix) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(tokens, torch.cat([prefix, patches], 1), atol=1e-5, rtol=0)
    spread = (ours[0][:, 0] - ours[1][:, 0]).abs().mean()
    assert spread > 0.1, "blocks that do nothing prove nothing"


@torch.no_grad()
@pytest.mark.parametrize("normed", [True, False])
def test_stages_of_a_swin_are_those_that_timm_gives(normed):
    swin = network("swin", SWIN)
    maps = swin.forward_intermediates(images(32), indices=2, norm=normed, intermediates_only=True)
    expected = torch.cat([each.mean((2, 3)) for each in maps], 1)
    found = forward(swin, images(32), FeatureSpec(layer="last:2", norm=normed))
    assert found.shape == (3, 16 + 32)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(forward(swin, images(32), FeatureSpec(layer="last")), swin(images(32)))
    with pytest.raises(UserError, match=r"pooling=token is not possible"):
        forward(swin, images(32), FeatureSpec(pooling="token"))
    with pytest.raises(UserError, match=r"has 3 blocks or stages. Expected last:3 or fewer"):
        forward(swin, images(32), FeatureSpec(layer="last:4"))


@torch.no_grad()
def test_stages_of_a_resnet_stand_one_after_another(tiny_candidate):
    resnet = tiny_candidate.backbone.eval()
    maps = resnet.stages(images(16))
    expected = torch.cat([maps[name].mean((2, 3)) for name in ("layer3", "layer4")], 1)
    torch.testing.assert_close(forward(resnet, images(16), FeatureSpec(layer="last:2")), expected)


@torch.no_grad()
def test_registers_without_a_class_token_have_none():
    vit = network("vit", SMALL | {"class_token": False})
    assert vit.num_prefix_tokens == 2
    forward(vit, images(), FeatureSpec(pooling="mean"))
    with pytest.raises(UserError, match="of which the first is a class token"):
        forward(vit, images(), FeatureSpec(pooling="token"))


class Tower(nn.Module):
    """A network of a library as it might be wrapped: tokens, a pooling head and a projection."""

    num_prefix_tokens = 1

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
        self.projector = nn.Linear(3, 7)

    def tokens(self, images: Tensor, layers: int, normed: bool) -> list[Tensor]:
        x, found = images.flatten(2).transpose(1, 2), list[Tensor]()
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found[-layers:]

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        embedding = self(images)
        return {"embedding": embedding, "projector": torch.nn.functional.normalize(self.projector(embedding))}

    def forward(self, images: Tensor) -> Tensor:
        return self.tokens(images, 1, True)[0][:, 0]


@torch.no_grad()
def test_further_outputs_of_a_network_go_by_their_names():
    tower = Tower()
    assert isinstance(tower, OutputBackbone)
    found = forward(tower, images(), FeatureSpec(layer="projector"))
    torch.testing.assert_close(found, tower.outputs(images())["projector"])
    assert not torch.allclose(found, tower.projector(tower(images()))), "the output goes before the module"
    torch.testing.assert_close(forward(tower, images(), FeatureSpec(layer="embedding")), tower(images()))
    with pytest.raises(UserError, match=r"Unknown layer 'pooler'.*Known: embedding, last, .*pooled, projector"):
        forward(tower, images(), FeatureSpec(layer="pooler"))


@torch.no_grad()
def test_a_module_that_says_nothing_of_its_layers_is_refused_with_those_it_has():
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    with pytest.raises(
        UserError, match=r"layer=last:2: which layers of Sequential are its last .* Known: 0, 1, pooled"
    ):
        forward(plain, images(), FeatureSpec(layer="last:2"))


@torch.no_grad()
def test_a_live_network_gives_the_tokens_of_what_it_holds(vit):
    for held in (vit, Tower()):
        live = Live(held, 24)
        assert isinstance(live, TokenBackbone)
        asked = FeatureSpec(layer="last:2", pooling="token")
        torch.testing.assert_close(forward(live, images(), asked), forward(held, images(), asked))
    torch.testing.assert_close(
        forward(live, images(), FeatureSpec(layer="projector")), Tower.outputs(held, images())["projector"]
    )


@torch.no_grad()
def test_networks_of_timm_give_their_last_layers_too():
    tokens = VisionTransformer(24, 8, num_classes=0, embed_dim=32, depth=3, num_heads=2, reg_tokens=2).eval()
    maps = timm.create_model("resnet10t", num_classes=0).eval()
    for network, widths in ((tokens, [32, 32]), (maps, [256, 512])):
        live = Live(network, 24)
        last = network.forward_intermediates(images(), indices=2, norm=True, intermediates_only=True)
        expected = torch.cat([each.mean((2, 3)) for each in last], 1)
        assert expected.shape[1] == sum(widths)
        found = forward(live, images(), FeatureSpec(layer="last:2"))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    live, both = Live(tokens, 24), FeatureSpec(pooling="token+mean")
    every = tokens.forward_features(images())
    expected = torch.cat([every[:, 0], every[:, 3:].mean(1)], 1)
    torch.testing.assert_close(forward(live, images(), both), expected, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match=r"Expected last:3 or fewer"):
        forward(live, images(), FeatureSpec(layer="last:4"))
    with pytest.raises(UserError, match=r"norm=false: ResNet has no norm"):
        forward(Live(maps, 24), images(), FeatureSpec(norm=False))


def test_a_pooling_or_norm_without_a_layer_is_of_the_last():
    assert FeatureSpec(pooling="token+mean") == FeatureSpec(layer="last", pooling="token+mean")
    assert FeatureSpec.model_validate({"pooling": "mean"}).layer == "last"
    assert FeatureSpec(norm=False).identity == {
        "precision": "float32",
        "layer": "last",
        "pooling": "mean",
        "norm": False,
    }
    assert FeatureSpec(layer="last:1") == FeatureSpec(layer="last")
    assert FeatureSpec(layer="pooled", pooling="mean") == FeatureSpec()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"layer": "last:0"}, "expected a number of layers from 1 on"),
        ({"layer": "last:"}, "expected a number of layers from 1 on"),
        ({"layer": "last:04"}, "expected a number of layers from 1 on"),
        ({"layer": "pooled", "pooling": "max"}, "leaves nothing for pooling=max: .* set layer=last"),
        ({"layer": "blocks.3", "norm": False}, "norm=false is for layer=last and last:N, found layer=blocks.3"),
        ({"layer": "last", "pooling": "both"}, "token.mean"),
    ],
)
def test_what_would_be_ignored_is_refused(wrong, reason):
    with pytest.raises(pydantic.ValidationError, match=reason):
        FeatureSpec(**wrong)


def test_nothing_is_written_that_was_not_there_before():
    """Of tasks that had the output alone, and of those that had layers: the keys of their hashes and no others."""
    later, first = TASKS.load("knn").Config, TASKS.load("fewshot").Config
    assert set(later().model_dump()) & set(FeatureSpec.model_fields) == {"precision"}
    assert set(first().model_dump()) & set(FeatureSpec.model_fields) == {"precision", "layer", "pooling"}
    for Config in (later, first):  # noqa: N806
        for asked in ({"pooling": "token+mean"}, {"layer": "last:4", "norm": False}, {"layer": "layer3"}, {}):
            config = Config(**asked)
            assert Config.model_validate_json(settings.canonical_json(config)) == config
            assert spec_of(config.model_dump(mode="json")).identity == config.identity
    assert later(pooling="mean").model_dump()["layer"] == "last"


def test_a_label_says_which_layer_it_is_of():
    def label(task: str, **asked: object) -> str:
        return TASKS.load(task).label(TASKS.load(task).Config(**asked))

    four = {"layer": "last:4", "pooling": "token"}
    assert label("logistic", **four) == "logistic (layer=last:4, pooling=token)"
    assert label("knn", norm=False) == "k-NN (layer=last, norm=false)"
    assert label("knn", preset="dino", **four) == "20-NN (dino, layer=last:4, pooling=token)"
    assert label("linear", preset="moco", layer="last") == "linear (moco, layer=last)"
    assert label("linear", epochs=3, pooling="mean") == "linear (layer=last)"


def test_fine_tuning_takes_the_output_and_no_other():
    with pytest.raises(UserError, match="layer"):
        settings.read(TASKS.load("semi").Config, {}, ["layer=last:4"])
