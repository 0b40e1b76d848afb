"""A converted network computes what it computed before, in the target's own modules where they are installed."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm.layers.mlp
import timm.models.resnet
import timm.models.swin_transformer
import timm.models.vision_transformer
import torch
import torchvision
from torch import Tensor, nn

from transferbench import backbones
from transferbench.backbones import Architecture, Backbone
from transferbench.checkpoints import Card, targets
from transferbench.checkpoints.convert import convert
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load, sha256
from transferbench.checkpoints.save import save
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError

CLOSE = 1e-5
"""Of the largest feature."""
RESNET = {"depth": 18}
VIT = {"image_size": 32, "patch_size": 8, "dim": 64, "depth": 2, "heads": 4}
RESNETS: dict[str, dict[str, Any]] = {
    "plain": {"depth": 10},
    "bottleneck": {"depth": 26},
    "grouped": {"depth": 26, "groups": 4, "width_per_group": 8},
}


def network(family: str, arguments: dict[str, Any], seed: int = 1) -> Backbone:
    """A network whose norms are not those of a fresh one, which would hide a norm that was not filled."""
    backbone = backbones.build(Architecture(family=family, arguments=arguments), seed).eval()
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in backbone.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
        if name in {"cls_token", "pos_embed", "reg_token"}:
            tensor.normal_(generator=draw)
    return backbone


def source(backbone: Backbone, folder: Path, **preprocess: Any) -> Path:
    card = Card(architecture=backbone.architecture, preprocess=Preprocess(**preprocess))
    save(folder / "source.safetensors", backbone.state_dict(), card)
    return folder / "source.safetensors"


def images(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def difference(ours: nn.Module, theirs: nn.Module, inputs: Tensor) -> float:
    """The largest difference of features, over the largest feature."""
    with torch.no_grad():
        before, after = ours(inputs), theirs.eval()(inputs)
    return float((before - after).abs().max() / before.abs().max())


def resnet(module: Any, arguments: dict[str, Any], **more: Any) -> nn.Module:
    kind, layers = {10: ("BasicBlock", (1,) * 4), 26: ("Bottleneck", (2,) * 4)}[arguments["depth"]]
    return module.ResNet(getattr(module, kind), list(layers), **more)


def given(arguments: dict[str, Any], groups: str, width: str) -> dict[str, int]:
    return {groups: arguments.get("groups", 1), width: arguments.get("width_per_group", 64)}


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet_computes_the_same_in_torchvisions_own_module(name: str, ending: str, tmp_path: Path) -> None:
    ours, arguments = network("resnet", RESNETS[name]), RESNETS[name]
    out = tmp_path / f"out{ending}"
    convert(source(ours, tmp_path), out, "torchvision")
    theirs: Any = resnet(torchvision.models.resnet, arguments, **given(arguments, "groups", "width_per_group"))
    theirs.fc = nn.Identity()
    state = torch.load(out, weights_only=True) if ending == ".pth" else safetensors.torch.load_file(out)
    theirs.load_state_dict(state, strict=True)
    assert difference(ours, theirs, images()) <= CLOSE


@pytest.mark.parametrize("more", [{}, {"avg_down": True}, {"stem": "deep"}])
@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet_computes_the_same_in_timms_own_module(name: str, more: dict[str, Any], tmp_path: Path) -> None:
    arguments = {**RESNETS[name], **more}
    ours = network("resnet", arguments)
    convert(source(ours, tmp_path), tmp_path / "out.pth", "timm")
    deep = {"stem_type": "deep", "stem_width": 32} if "stem" in more else {}
    numbers = given(arguments, "cardinality", "base_width")
    theirs = resnet(timm.models.resnet, arguments, num_classes=0, avg_down="avg_down" in more, **numbers, **deep)
    theirs.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True), strict=True)
    assert difference(ours, theirs, images()) <= CLOSE


def test_a_vit_computes_the_same_in_torchvisions_own_module(tmp_path: Path) -> None:
    ours = network("vit", {**VIT, "norm_eps": 1e-3})
    done = convert(source(ours, tmp_path), tmp_path / "out.pth", "torchvision")
    layer = partial(nn.LayerNorm, eps=1e-3)
    theirs = torchvision.models.VisionTransformer(32, 8, 2, 4, 64, 256, norm_layer=layer)
    theirs.heads = nn.Sequential()
    theirs.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True), strict=True)
    assert difference(ours, theirs, images()) <= CLOSE
    assert "num_heads=4" in done.built
    assert "eps=0.001" in done.built
    assert any("--as heads=4" in note for note in done.notes)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"registers": 2, "position_for_prefix": False, "layer_scale": True},
        {"mlp": "swiglu", "mlp_ratio": 5.5},
        {"class_token": False, "pooling": "mean"},
        {"pooling": "mean", "norm_pooled": True},
    ],
)
def test_a_vit_computes_the_same_in_timms_own_module(more: dict[str, Any], tmp_path: Path) -> None:
    ours = network("vit", {**VIT, **more})
    done = convert(source(ours, tmp_path), tmp_path / "out.safetensors", "timm")
    theirs = eval(done.built, {"partial": partial, "torch": torch, "timm": timm})  # what a person is told to build
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "out.safetensors"), strict=True)
    assert difference(ours, theirs, images()) <= CLOSE


def test_a_swin_computes_the_same_in_timms_own_module(tmp_path: Path) -> None:
    shape = {"image_size": 64, "dim": 32, "depths": [2, 2], "heads": [1, 2], "window": 4, "patch_size": 4}
    ours = network("swin", shape)
    done = convert(source(ours, tmp_path), tmp_path / "out.pth", "timm")
    theirs = eval(done.built, {"timm": timm})
    theirs.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True), strict=True)
    assert difference(ours, theirs, images(64)) <= CLOSE


@pytest.mark.parametrize(
    "arguments",
    [
        RESNET,
        {"depth": 50},
        {"depth": 50, "groups": 32, "width_per_group": 4},
        {"depth": 50, "stride_in_1x1": True},
        {"depth": 50, "width": 0.25},
    ],
)
def test_detectron2_gets_bare_names_without_counters_and_gives_the_features_back(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    ours = network("resnet", arguments)
    done = convert(source(ours, tmp_path), tmp_path / "out.pth", "detectron2")
    tree = torch.load(tmp_path / "out.pth", weights_only=True)
    assert tree["matching_heuristics"] is True
    names = set(tree["model"])
    counters = [name for name in ours.state_dict() if name.endswith("num_batches_tracked")]
    assert len(names) == len(ours.state_dict()) - len(counters)
    assert {"stem.conv1.weight", "stem.conv1.norm.running_var", "res5.1.conv2.norm.bias"} <= names
    assert ("res2.0.shortcut.weight" in names) == (arguments["depth"] == 50)
    assert torch.equal(tree["model"]["res3.0.shortcut.norm.weight"], ours.state_dict()["layer2.0.downsample.1.weight"])
    stride = arguments.get("stride_in_1x1", False)
    assert f"MODEL.RESNETS.STRIDE_IN_1X1 {stride}" in done.built
    again = load(tmp_path / "out.pth", overrides=[f"stride_in_1x1={str(stride).lower()}"])
    assert difference(ours, again.backbone, images()) == 0


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("resnet", {"depth": 10, "width": 0.25}),
        ("resnet", {"depth": 26, "width": 0.25, "stride_in_1x1": True}),
        ("vit", {**VIT, "norm_eps": 1e-12, "resampling": "plain"}),
        ("vit", {**VIT, "qkv_bias": False}),
    ],
)
def test_hugging_face_gets_a_folder_that_says_heads_epsilon_and_normalisation(
    family: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    ours = network(family, arguments)
    done = convert(source(ours, tmp_path, mean=(0.1, 0.2, 0.3)), tmp_path / "out", "huggingface")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert said["model_type"] == family
    again = load(tmp_path / "out" / "model.safetensors")
    assert done.digest == again.digest
    if family == "vit":
        assert again.card.architecture.arguments["heads"] == 4
        assert again.card.preprocess.mean == (0.1, 0.2, 0.3)
        assert difference(ours, again.backbone, images()) == 0


@pytest.mark.parametrize("target", targets.TARGETS.names())
def test_the_digest_survives_the_way_there_and_back(target: str, tmp_path: Path) -> None:
    ours = network("resnet", RESNET)
    start = load(source(ours, tmp_path))
    there = tmp_path / {"huggingface": "there", "transferbench": "there.safetensors"}.get(target, "there.pth")
    done = convert(tmp_path / "source.safetensors", there, target)
    file = there / "model.safetensors" if there.is_dir() else there
    back = convert(file, tmp_path / "back.safetensors", "transferbench")
    assert start.digest == done.digest == back.digest == load(tmp_path / "back.safetensors").digest


def test_our_own_file_keeps_its_card_and_says_where_it_came_from(tmp_path: Path) -> None:
    given_file = source(network("vit", {**VIT, "heads": 2}), tmp_path, crop=32, size=32)
    convert(given_file, tmp_path / "out.safetensors", "transferbench")
    before, after = load(given_file).card, load(tmp_path / "out.safetensors").card
    assert (before.architecture, before.preprocess) == (after.architecture, after.preprocess)
    assert after.origin.source_sha256 == sha256(given_file)


def test_the_encoder_and_what_the_person_says_are_honoured(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"epoch": 1, "state_dict": {"module.queue": torch.ones(2, 3)}}
    for seed, label in enumerate("qk", 1):
        weights = network("resnet", {"depth": 10, "stem": "cifar"}, seed).state_dict()
        tree["state_dict"] |= {f"module.encoder_{label}.{name}": tensor for name, tensor in weights.items()}
    torch.save(tree, tmp_path / "moco.pth")
    out = tmp_path / "out.safetensors"
    done = convert(tmp_path / "moco.pth", out, "transferbench", ("ema", ["conv1_padding=2"]))
    assert done.digest == inspect(tmp_path / "moco.pth", "ema").digest != inspect(tmp_path / "moco.pth").digest
    assert load(out).card.architecture.arguments["conv1_padding"] == 2


@pytest.mark.parametrize(
    ("target", "family", "arguments", "told"),
    [
        ("torchvision", "resnet", {"depth": 10, "stem": "cifar"}, "stem=cifar"),
        ("torchvision", "resnet", {"depth": 10, "width": 0.5}, "width=0.5"),
        ("torchvision", "resnet", {"depth": 10, "same_padding": True}, "same_padding=True"),
        ("torchvision", "vit", {**VIT, "registers": 1}, "registers=1"),
        ("torchvision", "vit", {**VIT, "pooling": "mean"}, "pooling=mean"),
        ("timm", "resnet", {"depth": 10, "stem": "cifar", "pre_pad": 1}, "pre_pad=1 .*stem=cifar"),
        ("timm", "vit", {**VIT, "conv_stem": True}, "conv_stem=True"),
        ("timm", "vit", {**VIT, "pooling": "mean_all"}, "pooling=mean_all"),
        ("detectron2", "resnet", {"depth": 18, "stem": "cifar"}, "stem=cifar"),
        ("detectron2", "resnet", {"depth": 10}, "depth=10"),
        ("detectron2", "resnet", {"depth": 18, "width": 0.5}, "width=0.5"),
        ("detectron2", "vit", VIT, "family vit"),
        ("huggingface", "resnet", {"depth": 26, "groups": 2}, "groups=2"),
        ("huggingface", "vit", {**VIT, "layer_scale": True}, "layer_scale=True"),
    ],
)
def test_what_a_target_cannot_compute_is_refused_by_property(
    target: str, family: str, arguments: dict[str, Any], told: str, tmp_path: Path
) -> None:
    out = tmp_path / ("out" if target == "huggingface" else "out.pth")
    with pytest.raises(UserError, match=told):
        convert(source(network(family, arguments), tmp_path), out, target)
    assert not out.exists()


def test_padding_in_front_of_a_7x7_stem_is_the_same_network(tmp_path: Path) -> None:
    ours = network("resnet", {"depth": 10, "pre_pad": 1, "conv1_padding": 2})
    done = convert(source(ours, tmp_path), tmp_path / "out.pth", "torchvision")
    assert difference(ours, load(tmp_path / "out.pth").backbone, images()) == 0
    assert done.notes == ()


def test_what_the_file_cannot_say_is_told_with_the_option_that_says_it(tmp_path: Path) -> None:
    ours = network("resnet", RESNET)
    done = convert(source(ours, tmp_path, mean=(0.1, 0.2, 0.3), crop=160), tmp_path / "out.pth", "torchvision")
    said = [note.partition("--as ")[2] for note in done.notes]
    assert load(tmp_path / "out.pth", overrides=said).card.preprocess == Preprocess(mean=(0.1, 0.2, 0.3), crop=160)


def test_a_file_that_reads_back_differently_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: Path, weights: dict[str, Tensor], card: Card) -> None:
        torch.save({**weights, "bn1.weight": weights["bn1.weight"] + 1e-6}, path)

    monkeypatch.setattr(
        targets.TARGETS.load("torchvision"),
        "TARGET",
        targets.Target(targets.TARGETS.load("torchvision").TARGET.kinds, write=careless),
    )
    with pytest.raises(UserError, match="was not written: read again"):
        convert(source(network("resnet", RESNET), tmp_path), tmp_path / "out.pth", "torchvision")
    assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]


def test_what_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    given_file, out = source(network("resnet", RESNET), tmp_path), tmp_path / "out.pth"
    out.write_text("dear")
    with pytest.raises(UserError, match="--force"):
        convert(given_file, out, "torchvision")
    assert out.read_text() == "dear"
    convert(given_file, out, "torchvision", force=True)
    assert load(out).digest == load(given_file).digest
    for wrong, told in ((tmp_path / "out.pkl", ".pth"), (tmp_path / "other.pkl", ".safetensors or .pth")):
        with pytest.raises(UserError, match=told):
            convert(given_file, wrong, "torchvision")
    with pytest.raises(UserError, match="Did you mean 'detectron2'"):
        convert(given_file, out, "detectron")
