"""A converted network computes what it computed before, in the target's own modules where they are installed."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm.layers.mlp
import timm.models.resnet
import timm.models.swin_transformer
import timm.models.vision_transformer
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from transferbench import backbones
from transferbench.backbones import Architecture, Backbone
from transferbench.checkpoints import Card, targets
from transferbench.checkpoints.convert import convert
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load, sha256
from transferbench.checkpoints.save import save
from transferbench.data import transforms
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError

CLOSE = 1e-5
"""Of the largest feature."""
RESNET = {"depth": 10}
VIT = {"image_size": 32, "patch_size": 8, "dim": 64, "depth": 2, "heads": 4}
RESNETS: dict[str, dict[str, Any]] = {
    "plain": {"depth": 10},
    "bottleneck": {"depth": 26},
    "grouped": {"depth": 26, "groups": 4, "width_per_group": 8},
    "ResNet-18": {"depth": 18},
    "ResNet-50": {"depth": 50},
}
BLOCKS = {
    10: ("BasicBlock", (1,) * 4),
    18: ("BasicBlock", (2,) * 4),
    26: ("Bottleneck", (2,) * 4),
    50: ("Bottleneck", (3, 4, 6, 3)),
}
NARROW = {"depth": 50, "width": 0.25}
TIMMS: list[dict[str, Any]] = [{}, {"avg_down": True}, {"stem": "deep"}]
WIDE: list[dict[str, Any]] = [{}, {"groups": 32, "width_per_group": 4}, {"stride_in_1x1": True}]
SINGLE = {**VIT, "dim": 64, "depth": 12, "heads": 1}
"""As many heads as 64 channels each make, and numbers of two digits in its names."""
VIT_S = {"image_size": 64, "patch_size": 16, "dim": 384, "depth": 12, "heads": 6}


def runs(name: str, other: object, *always: tuple[str, object]) -> Any:
    """Parameters that run always, or in `make test-all` alone."""
    return pytest.param(name, other, marks=[] if (name, other) in always else pytest.mark.slow)


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


def unlearned(family: str, arguments: dict[str, Any], folder: Path) -> Path:
    """A file of a network whose every number is 1."""
    architecture = backbones.complete(Architecture(family=family, arguments=arguments))
    shapes = backbones.expected_shapes(architecture)
    kinds = {name: torch.int64 if name.endswith(backbones.COUNTER) else torch.float32 for name in shapes}
    weights = {name: torch.ones(shape, dtype=kinds[name]) for name, shape in shapes.items()}
    save(folder / "source.safetensors", weights, Card(architecture=architecture, preprocess=Preprocess()))
    return folder / "source.safetensors"


def images(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def difference(ours: nn.Module, theirs: Callable[[Tensor], Tensor], inputs: Tensor) -> float:
    """The largest difference of features, over the largest feature."""
    with torch.no_grad():
        before, after = ours(inputs), (theirs.eval() if isinstance(theirs, nn.Module) else theirs)(inputs)
    return float((before - after).abs().max() / before.abs().max())


def resnet(module: Any, arguments: dict[str, Any], **more: Any) -> nn.Module:
    kind, layers = BLOCKS[arguments["depth"]]
    return module.ResNet(getattr(module, kind), list(layers), **more)


def given(arguments: dict[str, Any], groups: str, width: str) -> dict[str, int]:
    return {groups: arguments.get("groups", 1), width: arguments.get("width_per_group", 64)}


@pytest.mark.parametrize(
    ("name", "ending"),
    [runs(n, e, ("plain", ".safetensors"), ("grouped", ".pth")) for n in RESNETS for e in (".pth", ".safetensors")],
)
def test_a_resnet_computes_the_same_in_torchvisions_own_module(name: str, ending: str, tmp_path: Path) -> None:
    ours, arguments = network("resnet", RESNETS[name]), RESNETS[name]
    out = tmp_path / f"out{ending}"
    convert(source(ours, tmp_path), out, "torchvision")
    theirs: Any = resnet(torchvision.models.resnet, arguments, **given(arguments, "groups", "width_per_group"))
    theirs.fc = nn.Identity()
    state = torch.load(out, weights_only=True) if ending == ".pth" else safetensors.torch.load_file(out)
    theirs.load_state_dict(state, strict=True)
    assert difference(ours, theirs, images()) <= CLOSE


@pytest.mark.parametrize(
    ("name", "more"),
    [runs(name, more, ("plain", {}), *(("grouped", each) for each in TIMMS)) for name in RESNETS for more in TIMMS],
)
def test_a_resnet_computes_the_same_in_timms_own_module(name: str, more: dict[str, Any], tmp_path: Path) -> None:
    arguments = {**RESNETS[name], **more}
    ours = network("resnet", arguments)
    convert(source(ours, tmp_path), tmp_path / "out.pth", "timm")
    deep = {"stem_type": "deep", "stem_width": 32} if "stem" in more else {}
    numbers = given(arguments, "cardinality", "base_width")
    theirs = resnet(timm.models.resnet, arguments, num_classes=0, avg_down="avg_down" in more, **numbers, **deep)
    theirs.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True), strict=True)
    assert difference(ours, theirs, images()) <= CLOSE


@pytest.mark.parametrize("shape", [VIT, SINGLE, pytest.param(VIT_S, marks=pytest.mark.slow)])
def test_a_vit_computes_the_same_in_torchvisions_own_module(shape: dict[str, Any], tmp_path: Path) -> None:
    ours = network("vit", {**shape, "norm_eps": 1e-3})
    done = convert(source(ours, tmp_path), tmp_path / "out.pth", "torchvision")
    layer = partial(nn.LayerNorm, eps=1e-3)
    sizes = [shape[name] for name in ("image_size", "patch_size", "depth", "heads", "dim")]
    theirs = torchvision.models.VisionTransformer(*sizes, 4 * shape["dim"], norm_layer=layer)
    theirs.heads = nn.Sequential()
    theirs.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True), strict=True)
    assert difference(ours, theirs, images(shape["image_size"])) <= CLOSE
    assert f"num_heads={shape['heads']}" in done.built
    assert "eps=0.001" in done.built
    assert any("--as heads=4" in note for note in done.notes) == (shape["heads"] == 4)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"registers": 2, "position_for_prefix": False, "layer_scale": True},
        {"mlp": "swiglu", "mlp_ratio": 5.5},
        {"class_token": False, "pooling": "mean"},
        {"pooling": "mean", "norm_pooled": True},
        SINGLE,
        pytest.param(VIT_S, marks=pytest.mark.slow),
    ],
)
def test_a_vit_computes_the_same_in_timms_own_module(more: dict[str, Any], tmp_path: Path) -> None:
    ours = network("vit", {**VIT, **more})
    done = convert(source(ours, tmp_path), tmp_path / "out.safetensors", "timm")
    theirs = eval(done.built, {"partial": partial, "torch": torch, "timm": timm})  # what a person is told to build
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "out.safetensors"), strict=True)
    assert difference(ours, theirs, images(ours.architecture.arguments["image_size"])) <= CLOSE


def test_a_swin_computes_the_same_in_timms_own_module(tmp_path: Path) -> None:
    shape = {"image_size": 64, "dim": 32, "depths": [2, 2], "heads": [1, 2], "window": 4, "patch_size": 4}
    ours = network("swin", shape)
    done = convert(source(ours, tmp_path), tmp_path / "out.pth", "timm")
    theirs = eval(done.built, {"timm": timm})
    theirs.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True), strict=True)
    assert difference(ours, theirs, images(64)) <= CLOSE


class Frozen(nn.Module):
    """A batch norm by its statistics, without a counter."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, mean, var = (each[:, None, None] for each in self.buffers())
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias


class Normed(nn.Conv2d):
    """A convolution that holds its norm."""

    def __init__(self, channels: int, out: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, size, stride, size // 2, groups=groups, bias=False)
        self.norm = Frozen(out)

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(super().forward(input))


class Block(nn.Module):
    def __init__(self, channels: int, inner: int, out: int, stride: int, given: dict[str, Any]) -> None:
        super().__init__()
        if given["depth"] < 50:
            self.conv1, self.conv2 = Normed(channels, out, 3, stride), Normed(out, out, 3)
        else:
            first, second = (stride, 1) if given.get("stride_in_1x1") else (1, stride)
            self.conv1 = Normed(channels, inner, 1, first)
            self.conv2 = Normed(inner, inner, 3, second, given.get("groups", 1))
            self.conv3 = Normed(inner, out, 1)
        self.shortcut = Normed(channels, out, 1, stride) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        kept = self.shortcut(x) if self.shortcut else x
        x = self.conv2(self.conv1(x).relu())
        x = self.conv3(x.relu()) if hasattr(self, "conv3") else x
        return (x + kept).relu()


class Detectron2(nn.Module):
    """Its ResNet, literally from what its names, settings and C4 features mean (docs/checkpoints.md#naming)."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        depth, groups = given["depth"], given.get("groups", 1)
        channels = stem = int(64 * given.get("width", 1))
        inner = int(groups * given.get("width_per_group", 64) * given.get("width", 1))
        self.stem = nn.Module()
        self.stem.conv1 = Normed(3, stem, 7, 2)
        self.stem.conv1.padding = (3, 3)
        for stage, count in enumerate(BLOCKS[depth][1]):
            out = stem * 2**stage * (4 if depth >= 50 else 1)
            blocks = []
            for i in range(count):
                blocks.append(Block(channels, inner * 2**stage, out, 2 if stage and not i else 1, given))
                channels = out
            self.add_module(f"res{stage + 2}", nn.Sequential(*blocks))

    def forward(self, images: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.stem.conv1(images).relu(), 3, 2, 1)
        for stage in range(2, 6):
            x = getattr(self, f"res{stage}")(x)
        return x.mean((2, 3))


@pytest.mark.parametrize(
    "arguments",
    [
        {"depth": 18},
        NARROW,
        {**NARROW, "groups": 32, "width_per_group": 4},
        {**NARROW, "stride_in_1x1": True},
        *(pytest.param({"depth": 50, **more}, marks=pytest.mark.slow) for more in WIDE),
    ],
)
def test_detectron2_gets_bare_names_without_counters_and_gives_the_features_back(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    ours = network("resnet", arguments)
    done = convert(source(ours, tmp_path), tmp_path / "out.pth", "detectron2")
    tree = torch.load(tmp_path / "out.pth", weights_only=True)
    assert tree["matching_heuristics"] is True
    theirs = Detectron2(**arguments)
    assert tree["model"].keys() == theirs.state_dict().keys()
    theirs.load_state_dict(tree["model"], strict=True)
    assert difference(ours, theirs, images(64)) <= CLOSE
    stride = arguments.get("stride_in_1x1", False)
    said = dict(setting.removeprefix("MODEL.RESNETS.").split() for setting in done.built.split(", "))
    groups, block = arguments.get("groups", 1), theirs.res2[0]
    inner = block.conv1.out_channels // groups if arguments["depth"] >= 50 else 64
    assert said == {
        "DEPTH": str(arguments["depth"]),
        "STRIDE_IN_1X1": str(stride),
        "NUM_GROUPS": str(groups),
        "WIDTH_PER_GROUP": str(inner),
        "STEM_OUT_CHANNELS": str(theirs.stem.conv1.out_channels),
        "RES2_OUT_CHANNELS": str([*block.children()][-1].out_channels),
    }
    again = load(tmp_path / "out.pth", overrides=[f"stride_in_1x1={str(stride).lower()}"])
    assert difference(ours, again.backbone, images()) == 0


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("resnet", {"depth": 10, "width": 0.25}),
        ("resnet", {"depth": 26, "width": 0.25, "stride_in_1x1": True}),
        ("vit", {**VIT, "norm_eps": 1e-12, "resampling": "plain"}),
        ("vit", {**VIT, "qkv_bias": False, "resampling": "plain"}),
        ("vit", {**VIT, "layer_scale": True, "resampling": "plain"}),
    ],
)
def test_hugging_face_gets_a_folder_that_says_heads_epsilon_and_normalization(
    family: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    ours = network(family, arguments)
    images_said = {"mean": (0.1, 0.2, 0.3), "size": 40, "crop": 32, "interpolation": "bicubic"}
    done = convert(source(ours, tmp_path, **images_said), tmp_path / "out", "huggingface")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert said["model_type"] == ("dinov2" if arguments.get("layer_scale") else family)
    again = load(tmp_path / "out" / "model.safetensors")
    assert done.digest == again.digest
    assert done.notes == ()
    assert again.card.architecture == ours.architecture
    assert again.card.preprocess == Preprocess(**images_said)
    assert difference(ours, again.backbone, images()) == 0


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("resnet", {"depth": 18}),
        ("resnet", {"depth": 50}),
        ("resnet", {"depth": 50, "stride_in_1x1": True}),
        ("vit", VIT_S),
        ("vit", {**VIT_S, "heads": 12, "norm_eps": 1e-12}),
        ("vit", {**VIT_S, "patch_size": 14, "image_size": 70, "layer_scale": True}),
    ],
)
def test_transformers_own_class_computes_the_same_on_the_same_images(
    family: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    ours = network(family, arguments)
    size = arguments.get("image_size", 64)
    path = source(ours, tmp_path, size=80, crop=size, mean=(0.1, 0.2, 0.3), interpolation="bicubic")
    convert(path, tmp_path / "out", "huggingface")
    theirs, told = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not told["unexpected_keys"]
    assert all(name.startswith("pooler.") for name in told["missing_keys"])
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    (image,) = transforms.evaluation(load(path).card.preprocess)(picture, np.random.default_rng(0))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out", use_fast=False)
    own = processor(picture, return_tensors="pt")["pixel_values"]
    assert (own - image).abs().max() <= 1e-5
    with torch.no_grad():
        found = theirs.eval()(image[None])
    pooled = found.pooler_output.flatten(1) if family == "resnet" else found.last_hidden_state[:, 0]
    assert difference(ours, lambda inputs: pooled, image[None]) <= CLOSE


@pytest.mark.parametrize("target", targets.TARGETS.names())
def test_the_digest_survives_the_way_there_and_back(target: str, tmp_path: Path) -> None:
    ours = network("resnet", NARROW if target == "detectron2" else RESNET)
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


def test_the_encoder_and_what_the_person_says_are_honored(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"epoch": 1, "state_dict": {"module.queue": torch.ones(2, 3)}}
    for seed, label in enumerate("qk", 1):
        weights = network("resnet", {"depth": 10, "stem": "cifar", "width": 0.125}, seed).state_dict()
        tree["state_dict"] |= {f"module.encoder_{label}.{name}": tensor for name, tensor in weights.items()}
    torch.save(tree, tmp_path / "moco.pth")
    out = tmp_path / "out.safetensors"
    done = convert(tmp_path / "moco.pth", out, "transferbench", ("ema", ["conv1_padding=2"]))
    assert done.digest == inspect(tmp_path / "moco.pth", "ema").digest != inspect(tmp_path / "moco.pth").digest
    assert load(out).card.architecture.arguments["conv1_padding"] == 2


@pytest.mark.parametrize(
    ("target", "family", "arguments", "told"),
    [
        ("torchvision", "resnet", {"depth": 10, "stem": "deep"}, "stem=deep"),
        ("torchvision", "resnet", {"depth": 10, "width": 0.5}, "width=0.5"),
        ("torchvision", "resnet", {"depth": 10, "same_padding": True}, "same_padding=True"),
        ("torchvision", "resnet", {"depth": 10, "stem": "cifar", "avg_down": True}, "avg_down=True"),
        ("torchvision", "vit", {**VIT, "registers": 1}, "registers=1"),
        ("torchvision", "vit", {**VIT, "pooling": "mean"}, "pooling=mean"),
        ("timm", "resnet", {"depth": 10, "stem": "cifar", "same_padding": True}, "same_padding=True"),
        ("timm", "vit", {**VIT, "conv_stem": True}, "conv_stem=True"),
        ("timm", "vit", {**VIT, "pooling": "mean_all"}, "pooling=mean_all"),
        ("detectron2", "resnet", {"depth": 18, "stem": "cifar"}, "stem=cifar"),
        ("detectron2", "resnet", {"depth": 18, "pre_pad": 1}, "conv1_padding=4"),
        ("detectron2", "resnet", {"depth": 10}, "depth=10"),
        ("detectron2", "resnet", {"depth": 18, "width": 0.5}, "width=0.5"),
        ("detectron2", "vit", VIT, "family vit"),
        ("huggingface", "resnet", {"depth": 26, "groups": 2}, "groups=2"),
        ("huggingface", "vit", {**VIT, "registers": 1}, "registers=1"),
        ("huggingface", "vit", {**VIT, "layer_scale": True, "mlp_ratio": 2.5}, "mlp_ratio=2.5 with layer scales"),
        ("huggingface", "vit", {**VIT, "layer_scale": True, "mlp": "swiglu"}, "mlp=swiglu"),
    ],
)
def test_what_a_target_cannot_compute_is_refused_by_property(
    target: str, family: str, arguments: dict[str, Any], told: str, tmp_path: Path
) -> None:
    out = tmp_path / ("out" if target == "huggingface" else "out.pth")
    with pytest.raises(UserError, match=told):
        convert(unlearned(family, arguments, tmp_path), out, target)
    assert not out.exists()


STEMS: list[dict[str, Any]] = [
    {"depth": 10, "stem": "cifar"},
    {"depth": 10, "stem": "cifar", "pre_pad": 1},
    {"depth": 10, "stem": "small_maxpool", "conv1_padding": 2, "conv1_bias": True},
    {"depth": 26, "pre_pad": 1},
]


@pytest.mark.parametrize(
    ("target", "ending", "arguments"),
    [
        ("torchvision", ".pth", STEMS[0]),
        ("torchvision", ".safetensors", STEMS[2]),
        ("timm", ".safetensors", STEMS[1]),
        *(
            pytest.param(target, ending, arguments, marks=pytest.mark.slow)
            for target in ("torchvision", "timm")
            for ending in (".pth", ".safetensors")
            for arguments in STEMS
        ),
    ],
)
def test_the_lines_that_are_told_build_a_network_with_another_stem(
    target: str, ending: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, out = network("resnet", arguments), tmp_path / f"out{ending}"
    done = convert(source(ours, tmp_path), out, target)
    page = (tmp_path / f"out{ending}.md").read_text()
    assert len(done.lines) == 4
    assert page.partition("```python\n")[2].partition("\n```")[0].splitlines() == list(done.lines)
    assert done.digest in page
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec("\n".join(done.lines), made)
    assert difference(ours, made["network"], images()) <= CLOSE
    with pytest.raises(UserError, match="already exists"):
        convert(tmp_path / "source.safetensors", out, target)
    out.unlink()
    with pytest.raises(UserError, match=r"\.md already exists"):
        convert(tmp_path / "source.safetensors", out, target)


def test_padding_in_front_of_a_7x7_stem_is_the_same_network(tmp_path: Path) -> None:
    ours = network("resnet", {"depth": 10, "pre_pad": 1, "conv1_padding": 2})
    done = convert(source(ours, tmp_path), tmp_path / "out.pth", "torchvision")
    assert difference(ours, load(tmp_path / "out.pth").backbone, images()) == 0
    assert (done.notes, done.lines, done.beside.exists()) == ((), (), False)


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


def test_a_folder_is_replaced_only_by_force_and_no_file_by_a_folder(tmp_path: Path) -> None:
    given_file, out = source(network("vit", VIT), tmp_path), tmp_path / "out"
    convert(given_file, out, "huggingface")
    (out / "config.json").write_text("dear")
    with pytest.raises(UserError, match="already exists"):
        convert(given_file, out, "huggingface")
    assert (out / "config.json").read_text() == "dear"
    done = convert(given_file, out, "huggingface", force=True)
    assert load(out / "model.safetensors").digest == done.digest
    (tmp_path / "a.pth").mkdir()
    for taken, target, told in ((given_file, "huggingface", "a file"), (tmp_path / "a.pth", "torchvision", "a folder")):
        with pytest.raises(UserError, match=f"is {told}; {target} wants the other"):
            convert(given_file, taken, target, force=True)
    assert load(given_file).digest == done.digest


@pytest.mark.parametrize("precision", [torch.float16, torch.float64])
def test_weights_of_any_precision_are_written_in_float32(precision: torch.dtype, tmp_path: Path) -> None:
    weights = network("resnet", RESNET).state_dict()
    given = {name: tensor.to(precision) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    torch.save(given, tmp_path / "given.pth")
    convert(tmp_path / "given.pth", tmp_path / "out.pth", "torchvision")
    written = torch.load(tmp_path / "out.pth", weights_only=True)
    assert {tensor.dtype for tensor in written.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(written[name], tensor.to(written[name].dtype)) for name, tensor in given.items())
