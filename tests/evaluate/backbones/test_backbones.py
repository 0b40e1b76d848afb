"""Backbones compute what torchvision and timm compute, and know themselves by names and shapes."""

from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.layers.mlp import GluMlp
from torch import nn

from transferbench import backbones
from transferbench.backbones import Architecture, vit
from transferbench.backbones._vit_shapes import usual_heads
from transferbench.backbones.resnet import zero_last_norms
from transferbench.checkpoints.formats import File, dinov2
from transferbench.errors import UserError

RESNETS = {
    "resnet18": {"depth": 18},
    "resnet50": {"depth": 50},
    "resnext50_32x4d": {"depth": 50, "groups": 32, "width_per_group": 4},
}
SLOW = {"wide_resnet50_2": {"depth": 50, "width_per_group": 128}}
VITS = {
    "vit_tiny_patch16_224": {"dim": 192, "heads": 3},
    "vit_small_patch14_reg4_dinov2": {
        "heads": 6,
        "patch_size": 14,
        "image_size": 518,
        "registers": 4,
        "layer_scale": True,
        "position_for_prefix": False,
    },
}


def architecture(family: str, arguments: dict[str, Any]) -> Architecture:
    return backbones.complete(Architecture(family=family, arguments=arguments))


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def shuffled(module: nn.Module) -> nn.Module:
    """The module with statistics, tokens and scales that matter, ready to be asked for features."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in module.named_parameters():
        if name.endswith(("gamma", "_token", "pos_embed")):
            parameter.data.normal_(generator=generator)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
        if name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module.eval()


@pytest.mark.parametrize("name", [*RESNETS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_resnet_features_are_exactly_torchvisions(name: str) -> None:
    theirs = shuffled(torchvision.models.get_model(name, weights=None))
    theirs.fc = nn.Identity()
    found = backbones.identify(backbones.shapes(theirs.state_dict()))
    assert found == architecture("resnet", (RESNETS | SLOW)[name])
    assert found.name == name
    ours = backbones.build(found).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        features = ours(images(64))
        assert features.std() > 0.01
        assert torch.equal(features, theirs(images(64)))


@pytest.mark.parametrize("name", VITS)
def test_vit_features_are_exactly_timms(name: str) -> None:
    size = 64 if "dinov2" not in name else 56
    theirs = shuffled(timm.create_model(name, num_classes=0, dynamic_img_size=True))
    found = backbones.identify(backbones.shapes(theirs.state_dict()))
    assert found == architecture("vit", VITS[name])
    ours = backbones.build(found).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        features = ours(images(size))
        assert features.std() > 0.01
        assert torch.equal(features, theirs(images(size)))


def test_mean_pooling_is_over_patches_alone() -> None:
    arguments = {"dim": 64, "heads": 1, "depth": 1, "image_size": 32, "registers": 2, "pooling": "mean"}
    network = backbones.build(architecture("vit", arguments)).eval()
    with torch.no_grad():
        assert torch.allclose(network(images(32)), network.stages(images(32))["last"].mean((2, 3)), atol=1e-6)
        assert network.stages(images(32))["last"].shape == (2, 64, 2, 2)


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("resnet", {"depth": 10, "width": 0.25}),
        ("resnet", {"depth": 18, "width": 0.5, "stem": "cifar"}),
        ("resnet", {"depth": 50, "width": 2}),
        ("resnet", SLOW["wide_resnet50_2"]),
        ("resnet", {"depth": 50, "width": 0.25}),
        ("resnet", {"depth": 101, "width": 1}),
        ("vit", {"dim": 64, "heads": 1, "depth": 2, "patch_size": 4, "image_size": 32}),
        ("vit", {"dim": 128, "heads": 2, "depth": 1, "registers": 4}),
        ("vit", {"dim": 128, "heads": 2, "depth": 1, "registers": 4, "position_for_prefix": False}),
        ("vit", {"dim": 64, "heads": 1, "depth": 1, "registers": 12, "image_size": 64}),
        ("vit", {"dim": 128, "heads": 2, "depth": 1, "class_token": False, "pooling": "mean"}),
        ("vit", {"dim": 192, "heads": 3, "depth": 2, "mlp": "swiglu", "mlp_ratio": 1000 / 192, "qkv_bias": False}),
    ],
)
def test_a_network_is_identified_by_its_own_shapes(family: str, arguments: dict[str, Any]) -> None:
    wanted = architecture(family, arguments)
    assert backbones.identify(backbones.expected_shapes(wanted)) == wanted


@pytest.mark.parametrize("name", [*RESNETS, *SLOW])
def test_a_network_of_torchvisions_has_its_name(name: str) -> None:
    assert architecture("resnet", (RESNETS | SLOW)[name]).name == name


def test_two_stems_of_equal_shapes_are_identified_as_the_plain_one() -> None:
    with_maxpool = architecture("resnet", {"depth": 10, "stem": "small_maxpool"})
    assert backbones.identify(backbones.expected_shapes(with_maxpool)).arguments["stem"] == "cifar"


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("resnet", {"depth": 18}),
        ("resnet", {"depth": 26, "width": 0.5}),
        pytest.param("resnet", {"depth": 50, "width": 0.5}, marks=pytest.mark.slow),
        ("vit", {"dim": 192, "heads": 3, "depth": 2}),
    ],
)
def test_any_one_tensor_missing_or_misshapen_is_named_beside_the_right_network(
    family: str, arguments: dict[str, Any]
) -> None:
    wanted = architecture(family, arguments)
    shapes = backbones.expected_shapes(wanted)
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            continue
        without = {n: s for n, s in shapes.items() if n != name}
        misshapen = {**shapes, name: (*shape[:-1], shape[-1] + 1)}
        for found in (without, misshapen):
            with pytest.raises(UserError, match=f"Nearest: {wanted.name}, with 1 mismatch(.|\n)*{name} "):
                backbones.identify(found)


def test_a_missing_step_counter_is_no_misfit() -> None:
    wanted = architecture("resnet", {"depth": 10})
    shapes = backbones.expected_shapes(wanted)
    without = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    assert backbones.identify(without) == wanted


@pytest.mark.parametrize("lost", ["bn1", "layer3.0.bn2"])
def test_one_step_counter_that_is_missing_alone_is_a_misfit(lost: str) -> None:
    wanted = architecture("resnet", {"depth": 10})
    shapes = backbones.expected_shapes(wanted)
    del shapes[f"{lost}.num_batches_tracked"]
    with pytest.raises(UserError, match=f"missing {lost}.num_batches_tracked"):
        backbones.identify(shapes)


def test_frozen_first_stages_may_lack_their_step_counters() -> None:
    wanted = architecture("resnet", {"depth": 10})
    shapes = backbones.expected_shapes(wanted)
    frozen = [n for n in shapes if n.startswith(("bn1.", "layer1.")) and n.endswith("num_batches_tracked")]
    assert backbones.identify({n: s for n, s in shapes.items() if n not in frozen}) == wanted


def test_tensors_of_no_family_are_refused() -> None:
    with pytest.raises(UserError, match="no known architecture"):
        backbones.identify({"rnn.weight_ih": (4, 4)})


def test_pre_pad_grows_the_map_and_changes_no_shape() -> None:
    plain = architecture("resnet", {"depth": 10, "width": 0.125, "stem": "cifar"})
    padded = architecture("resnet", {**plain.arguments, "pre_pad": 1})
    assert backbones.expected_shapes(plain) == backbones.expected_shapes(padded)
    maps = backbones.build(padded).eval().stages(images(32))
    assert [tuple(m.shape[-2:]) for m in maps.values()] == [(34, 34), (34, 34), (17, 17), (9, 9), (5, 5)]


def test_initial_weights_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    small = architecture("resnet", {"depth": 10, "width": 0.125})
    before = torch.get_rng_state()
    first, again, other = (backbones.build(small, seed).conv1.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["resnet26d", pytest.param("resnet50d", marks=pytest.mark.slow)])
def test_resnet_d_features_are_exactly_timms(name: str) -> None:
    theirs = shuffled(timm.create_model(name, num_classes=0))
    found = backbones.identify(backbones.shapes(theirs.state_dict()))
    ours = backbones.build(found).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(ours(images(63)), theirs(images(63)))


@pytest.mark.parametrize("window", [2, 3])
def test_swin_features_are_exactly_timms(window: int) -> None:
    more = {
        "img_size": 32 * window,
        "window_size": window,
        "embed_dim": 32,
        "depths": (1, 1, 2, 1),
        "num_heads": (1, 2, 4, 8),
    }
    theirs = shuffled(timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, **more))
    found = backbones.identify(backbones.shapes(theirs.state_dict()))
    assert found.arguments["image_size"] == 32 * window
    ours = backbones.build(found).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.allclose(ours(images(32 * window)), theirs(images(32 * window)), atol=1e-6)
        assert [m.shape[-1] for m in ours.stages(images(32 * window)).values()] == [
            8 * window,
            4 * window,
            2 * window,
            window,
        ]


@pytest.mark.parametrize("size", [31, 32])
def test_same_padding_puts_the_odd_pixel_below_and_right(size: int) -> None:
    full = architecture("resnet", {"depth": 10, "width": 0.125, "same_padding": True})
    network = backbones.build(full).eval()
    found = network.stages(images(size))["stem"]
    rows = -(-size // 2)
    lacking = (rows - 1) * 2 + 7 - size
    padded = nn.functional.pad(images(size), [lacking // 2, lacking - lacking // 2] * 2)
    stem = network.relu(network.bn1(nn.functional.conv2d(padded, network.conv1.weight, stride=2)))
    lacking = (-(-rows // 2) - 1) * 2 + 3 - rows
    pooled = nn.functional.max_pool2d(nn.functional.pad(stem, [lacking // 2, lacking - lacking // 2] * 2), 3, 2)
    assert torch.allclose(found, pooled, atol=1e-6)


def test_where_the_stride_is_changes_features_and_no_shape() -> None:
    plain = architecture("resnet", {"depth": 50, "width": 0.125})
    msra = architecture("resnet", {**plain.arguments, "stride_in_1x1": True})
    assert backbones.expected_shapes(plain) == backbones.expected_shapes(msra)
    first, second = backbones.build(plain).eval(), backbones.build(msra).eval()
    second.load_state_dict(first.state_dict())
    block = second.layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))
    with torch.no_grad():
        assert not torch.allclose(first(images(64)), second(images(64)))


def test_positions_are_resampled_as_dinov2_does() -> None:
    arguments = {"dim": 64, "heads": 1, "depth": 1, "patch_size": 14, "image_size": 518, "resampling": "offset"}
    network = backbones.build(architecture("vit", arguments)).eval()
    nn.init.normal_(network.pos_embed)
    patches = network.patch_embed(images(224))
    grid = network.pos_embed[:, 1:].reshape(1, 37, 37, 64).permute(0, 3, 1, 2)
    scale = (16 + 0.1) / 37
    grid = nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic").permute(0, 2, 3, 1)
    expected = patches.flatten(1, 2) + grid.flatten(1, 2)
    with torch.no_grad():
        tokens = network._pos_embed(patches)
        assert torch.allclose(tokens[:, 1:], expected, atol=1e-6)
        assert torch.allclose(tokens[:, 0], (network.cls_token + network.pos_embed[:, :1])[:, 0].expand(2, -1))
        network.resampling = "antialias"
        assert not torch.allclose(network._pos_embed(patches)[:, 1:], expected, atol=1e-2)


def test_lost_positions_are_missed_for_patches_and_registers() -> None:
    shapes = backbones.expected_shapes(architecture("vit", {"dim": 64, "heads": 1, "depth": 1, "registers": 4}))
    del shapes["pos_embed"]
    with pytest.raises(UserError, match=r"missing pos_embed \[1, 201, 64\]"):
        backbones.identify(shapes)


@pytest.mark.parametrize("for_prefix", [True, False])
def test_resampled_positions_are_the_patches_and_not_the_registers(for_prefix: bool) -> None:
    arguments = {"dim": 64, "heads": 1, "depth": 1, "patch_size": 8, "image_size": 64, "registers": 3}
    more = {"resampling": "plain", "position_for_prefix": for_prefix}
    network = backbones.build(architecture("vit", {**arguments, **more})).eval()
    for tensor in (network.pos_embed, network.cls_token, network.reg_token):
        nn.init.normal_(tensor)
    prefix = 4 if for_prefix else 0
    own, grid = network.pos_embed[:, :prefix], network.pos_embed[:, prefix:]
    grid = grid.reshape(1, 8, 8, 64).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, size=(4, 4), mode="bicubic").permute(0, 2, 3, 1)
    patches = network.patch_embed(images(32))
    with torch.no_grad():
        tokens = network._pos_embed(patches)
        first = torch.cat([network.cls_token, network.reg_token], 1) + (own if for_prefix else 0)
        assert torch.allclose(tokens[:, :4], first.expand(2, -1, -1))
        assert torch.allclose(tokens[:, 4:], (patches + grid).flatten(1, 2), atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "mean_all", "token"])
@pytest.mark.parametrize("norm_pooled", [True, False])
def test_pooled_tokens_are_normed_before_or_after(pooling: str, norm_pooled: bool) -> None:
    arguments = {"dim": 64, "heads": 1, "depth": 1, "image_size": 32, "registers": 2}
    network = backbones.build(architecture("vit", {**arguments, "pooling": pooling, "norm_pooled": norm_pooled})).eval()
    norm = network.fc_norm if norm_pooled else network.norm
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        tokens = network.blocks(network._pos_embed(network.patch_embed(images(32))))
        tokens = tokens if norm_pooled else norm(tokens)
        pooled = {"mean": tokens[:, 3:].mean(1), "mean_all": tokens.mean(1), "token": tokens[:, 0]}[pooling]
        assert torch.allclose(network(images(32)), norm(pooled) if norm_pooled else pooled, atol=1e-6)


@pytest.mark.parametrize(("depth", "last"), [(10, "bn2"), (26, "bn3")])
def test_residual_branches_start_at_zero_where_that_is_asked_for(depth: int, last: str) -> None:
    network = backbones.build(architecture("resnet", {"depth": depth, "width": 0.125}))
    zero_last_norms(network)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.unique().tolist() == [0 if name.endswith(last) else 1], name


def test_a_convolutional_stem_is_known_and_gives_one_patch_for_16_pixels() -> None:
    wanted = architecture("vit", {"dim": 64, "heads": 1, "depth": 2, "conv_stem": True, "image_size": 64})
    assert backbones.identify(backbones.expected_shapes(wanted)) == wanted
    network = backbones.build(wanted).eval()
    assert network.patch_embed(images(64)).shape == (2, 4, 4, 64)
    assert network(images(64)).shape == (2, 64)


def test_a_lost_class_token_is_named_and_never_taken_for_a_network_without_one() -> None:
    arguments = {"dim": 64, "heads": 1, "depth": 2, "registers": 4, "layer_scale": True, "position_for_prefix": False}
    shapes = backbones.expected_shapes(architecture("vit", arguments))
    with pytest.raises(UserError, match="missing cls_token"):
        backbones.identify({name: shape for name, shape in shapes.items() if name != "cls_token"})


# Width, kind of MLP and heads of networks that timm builds, one of each width.
PUBLISHED = {
    "vit_tiny_patch16_224": (192, "gelu", 3),
    "vit_small_patch14_dinov2": (384, "gelu", 6),
    "vit_medium_patch16_gap_240": (512, "gelu", 8),
    "vit_betwixt_patch16_gap_256": (640, "gelu", 10),
    "vit_base_patch16_224": (768, "gelu", 12),
    "vit_so150m2_patch16_reg1_gap_256": (832, "gelu", 13),
    "vit_base_patch16_plus_clip_240": (896, "gelu", 14),
    "vit_large_patch16_224": (1024, "gelu", 16),
    "vit_so400m_patch16_siglip_256": (1152, "gelu", 16),
    "vit_huge_patch14_224": (1280, "gelu", 16),
    "vit_giant_patch14_224": (1408, "gelu", 16),
    "vit_giant_patch14_dinov2": (1536, "swiglu", 24),
    "vit_giantopt_patch16_siglip_256": (1536, "gelu", 16),
    "vit_gigantic_patch14_224": (1664, "gelu", 16),
}


def test_heads_that_no_tensor_tells_are_those_of_published_networks():
    assert {name: (dim, mlp, usual_heads(dim, mlp)) for name, (dim, mlp, _) in PUBLISHED.items()} == PUBLISHED
    assert [usual_heads(dim) for dim in (1792, 2048, 3072, 4096)] == [16, 16, 24, 32]


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_are_as_timm_builds_them(name):
    with torch.device("meta"):
        network = timm.create_model(name)
    block, (dim, mlp, heads) = network.blocks[0], PUBLISHED[name]
    assert (network.embed_dim, block.attn.num_heads) == (dim, heads)
    assert isinstance(block.mlp, GluMlp) == (mlp == "swiglu")


def test_an_ambiguous_width_is_said_to_be_one():
    def first(**arguments: object) -> str:
        return backbones.assumptions(architecture("vit", {"depth": 1, **arguments}))[0]

    assert first(dim=1152, heads=16) == "16 attention heads (72 channels each)"
    assert first(dim=1152, heads=18) == "18 attention heads (64 channels each, where 16 are usual)"
    ambiguous = "16 attention heads (96 channels each; published networks of this width have 12, 16, 24)"
    assert first(dim=1536, heads=16) == ambiguous


def test_the_giant_of_dinov2_has_its_heads_with_either_mlp():
    for mlp, ratio in (("gelu", 4.0), ("swiglu", 16 / 3)):
        arguments = {"dim": 1536, "depth": 2, "patch_size": 14, "layer_scale": True, "mlp": mlp, "mlp_ratio": ratio}
        [found, *_] = vit.propose(backbones.expected_shapes(architecture("vit", arguments)))
        assert found["heads"] == {"gelu": 16, "swiglu": 24}[mlp]
        settled = dinov2.settle(architecture("vit", found), object.__new__(File))
        assert {**found, **settled.arguments}["heads"] == 24
