"""A checkpoint fits exactly and is loaded whole, or is refused with the name of the tensor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import Card, Origin, digest, reading
from transferbench.checkpoints.load import load, random_control, sha256, stem, wrap
from transferbench.checkpoints.recognition import recognize
from transferbench.checkpoints.save import save
from transferbench.data.transforms import Preprocess
from transferbench.errors import UserError

Weights = dict[str, Tensor]


def small(stem: str = "imagenet", seed: int = 0, **more: Any) -> Weights:
    arguments = {"depth": 10, "width": 0.125, "stem": stem, **more}
    return dict(backbones.build(Architecture(family="resnet", arguments=arguments), seed).state_dict())


def under(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: tensor for name, tensor in weights.items()}


def moco() -> dict[str, Any]:
    fc = {f"fc.{i}.{kind}": torch.ones(2) for i in (0, 2) for kind in ("weight", "bias")}
    state = {
        **under("module.encoder_q.", {**small(seed=1), **fc}),
        **under("module.encoder_k.", {**small(seed=2), **fc}),
        "module.queue": torch.ones(2, 3),
        "module.queue_ptr": torch.zeros(1, dtype=torch.int64),
    }
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    return {"epoch": 200, "arch": "resnet10", "state_dict": state, "optimizer": optimizer}


def intl(stem: str = "cifar") -> dict[str, Any]:
    projection = {f"{i}.weight": torch.ones(2) for i in (0, 1, 3, 4, 6)}
    state = {
        **under("module.backbone.", small(stem, seed=1)),
        **under("module.projection.", projection),
        **under("module.momentum_backbone.", small(stem, seed=2)),
        **under("module.momentum_projection.", projection),
    }
    return {"epoch": 100, "arch": "resnet10", "state_dict": state}


def torchvision_training() -> dict[str, Any]:
    weights = {**small(seed=1), "fc.weight": torch.ones(10, 64), "fc.bias": torch.ones(10)}
    average = {"n_averaged": torch.tensor(3), **under("module.", {**small(seed=2), "fc.weight": torch.ones(10, 64)})}
    return {"model": weights, "model_ema": average, "epoch": 3, "lr_scheduler": {}, "args": {}}


def timm_training() -> dict[str, Any]:
    head = {"fc.weight": torch.ones(10, 64), "fc.bias": torch.ones(10)}
    return {
        "epoch": 5,
        "version": 2,
        "args": {"lr": 0.1},
        "state_dict": {**small(seed=2), **head},
        "state_dict_ema": {**small(seed=1), **head},
    }


def timm_vit() -> Weights:
    arguments = {"dim": 64, "heads": 1, "depth": 2, "patch_size": 8, "image_size": 32, "registers": 2}
    weights = backbones.build(Architecture(family="vit", arguments=arguments), seed=1).state_dict()
    return {**weights, "head.weight": torch.ones(10, 64), "head.bias": torch.ones(10)}


SOURCES: dict[str, tuple[Callable[[], dict[str, Any]], str, str]] = {
    "moco": (moco, "module.encoder_q.", "online"),
    "intl": (intl, "module.backbone.", "online"),
    "torchvision": (torchvision_training, "", "backbone"),
    "timm": (timm_training, "", "ema"),
}
EMA = {"moco": "ema", "intl": "ema", "torchvision": "ema", "timm": "online"}


def written(tree: Any, folder: Path, name: str = "some.pth.tar") -> Path:
    torch.save(tree, folder / name)
    return folder / name


def holder(source: str, tree: dict[str, Any]) -> Weights:
    """The state dict of the source's default network."""
    return tree[{"torchvision": "model", "timm": "state_dict_ema"}.get(source, "state_dict")]


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_gives_the_network_it_evaluates_and_the_other_on_request(source: str, tmp_path: Path) -> None:
    build, _, label = SOURCES[source]
    path = written(build(), tmp_path)
    kind = "cifar" if source == "intl" else "imagenet"
    candidate, other = load(path), load(path, encoder=EMA[source])
    assert candidate.digest == digest(small(kind, seed=1)) == digest(candidate.backbone.state_dict())
    assert other.digest == digest(small(kind, seed=2))
    assert candidate.report.format == source
    assert candidate.report.encoder.startswith(label)
    assert candidate.file_sha256 == sha256(path)
    assert candidate.name == "some"
    assert not candidate.backbone.training


def test_every_tensor_of_the_file_is_accounted_for(tmp_path: Path) -> None:
    tree = moco()
    report = load(written(tree, tmp_path)).report
    dropped = [name for names in report.dropped.values() for name in names]
    assert report.matched + len(dropped) == len(tree["state_dict"])
    assert report.matched == len(small())
    assert set(report.dropped) == {"projector", "queue", "network 'ema'"}
    assert report.parameters == sum(t.numel() for n, t in small().items() if n.endswith(("weight", "bias")))


def test_intl_on_cifar_is_the_padded_network_its_code_computes(tmp_path: Path) -> None:
    candidate = load(written(intl(), tmp_path))
    assert candidate.card.architecture.arguments["pre_pad"] == 1
    assert any("pre_pad=1" in line for line in candidate.report.assumed)
    assert candidate.card.preprocess.mean == (0.4914, 0.4822, 0.4465)
    assert candidate.card.origin.method == "intl"
    assert candidate.card.origin.epochs == 100
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = backbones.build(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125, "stem": "cifar"}))
    plain.load_state_dict(candidate.backbone.state_dict())
    with torch.no_grad():
        padded = torch.nn.functional.pad(images, [1] * 4)
        assert torch.equal(candidate.backbone(images), plain.eval()(padded))
        assert not torch.equal(candidate.backbone(images), plain(images))


def test_intl_on_imagenet_is_the_plain_network(tmp_path: Path) -> None:
    candidate = load(written(intl("imagenet"), tmp_path))
    assert candidate.card.architecture.arguments["pre_pad"] == 0
    assert candidate.card.preprocess == Preprocess()


def test_flat_files_of_timm_and_torchvision_vits_give_their_features(tmp_path: Path) -> None:
    candidate = load(written(timm_vit(), tmp_path))
    assert candidate.report.format == "timm"
    assert candidate.report.dropped == {"classifier": ["head.weight", "head.bias"]}
    assert candidate.card.preprocess.crop == 32
    theirs = torchvision.models.VisionTransformer(32, 8, 2, 1, 64, 256, num_classes=5).eval()
    ours = load(written(theirs.state_dict(), tmp_path))
    assert ours.report.format == "torchvision"
    theirs.heads = nn.Sequential()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(ours.backbone(images), theirs(images), atol=1e-5)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "module.module."])
def test_wrappers_around_every_name_are_stripped(wrapper: str, tmp_path: Path) -> None:
    candidate = load(written({"state_dict": under(wrapper, small())}, tmp_path))
    assert candidate.digest == digest(small())
    assert wrapper in candidate.report.encoder


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_brought_to_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {n: t.to(dtype) if t.is_floating_point() else t for n, t in small().items()}
    candidate = load(written(weights, tmp_path))
    assert candidate.digest == digest(candidate.backbone.state_dict()) == digest(weights)
    assert next(candidate.backbone.parameters()).dtype == torch.float32


def test_an_unknown_prefix_on_all_of_them_is_a_full_fit(tmp_path: Path) -> None:
    tree = {"net": {**under("somebody.trunk.", small()), "somebody.projector.0.weight": torch.ones(2)}}
    candidate = load(written(tree, tmp_path))
    assert candidate.report.format == "unknown"
    assert candidate.digest == digest(small())
    assert any("normalization" in line for line in candidate.report.assumed)
    renamed = {n.replace("encoder_q", "nobody"): t for n, t in moco()["state_dict"].items()}
    path = written({"state_dict": renamed}, tmp_path)
    with pytest.raises(UserError, match="nothing in it says which is meant"):
        load(path)
    assert load(path, encoder="nobody").digest == digest(small(seed=1))


def test_two_networks_of_an_unknown_source_must_be_chosen_between_unless_they_are_one(tmp_path: Path) -> None:
    one, other = under("one.", small(seed=1)), under("other.", small(seed=2))
    path = written({**one, **other}, tmp_path)
    with pytest.raises(UserError, match=r"2 networks .*: one, other\. Choose one with --encoder"):
        load(path)
    assert load(path, encoder="other").digest == digest(small(seed=2))
    with pytest.raises(UserError, match="Did you mean 'other'"):
        load(path, encoder="othr")
    alias = {name.replace("one.", "other."): tensor for name, tensor in one.items()}
    assert load(written({**one, **alias}, tmp_path)).digest == digest(small(seed=1))


def sampled(weights: Weights, prefix: str) -> list[str]:
    """Names of every kind of backbone tensor, without the ones that may be absent."""
    names = [n.removeprefix(prefix) for n in weights if n.startswith(prefix)]
    kinds = ("conv1.weight", "bn1.running_var", "layer2.0.downsample.0.weight", "layer4.0.bn2.bias")
    return [name for name in names if name in kinds]


@pytest.mark.parametrize("source", SOURCES)
def test_one_tensor_too_few_or_misshapen_is_refused_by_name(source: str, tmp_path: Path) -> None:
    build, prefix, _ = SOURCES[source]
    names = sampled(holder(source, build()), prefix)
    assert len(names) == 4
    for name in names:
        tree = build()
        tensor = holder(source, tree).pop(prefix + name)
        with pytest.raises(UserError, match=f"missing {name} "):
            load(written(tree, tmp_path))
        holder(source, tree)[prefix + name] = torch.cat([tensor, tensor[:1]])
        with pytest.raises(UserError, match=f"{name} is .*, expected"):
            load(written(tree, tmp_path))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("extra", ["layer1.0.conv9.weight", "surprise", "layer4.7.bn1.weight"])
def test_one_tensor_too_many_is_refused_by_name(source: str, extra: str, tmp_path: Path) -> None:
    build, prefix, _ = SOURCES[source]
    tree = build()
    holder(source, tree)[prefix + extra] = torch.ones(3)
    with pytest.raises(UserError, match=extra):
        load(written(tree, tmp_path))


@pytest.mark.parametrize("source", SOURCES)
def test_another_prefix_on_some_names_is_refused_by_name(source: str, tmp_path: Path) -> None:
    build, prefix, _ = SOURCES[source]
    tree = build()
    weights = holder(source, tree)
    for name in [n for n in weights if n.startswith(prefix + "layer2.0.bn1")]:
        weights["elsewhere." + name] = weights.pop(name)
    with pytest.raises(UserError, match=r"layer2\.0\.bn1\.weight"):
        load(written(tree, tmp_path))


def test_a_tensor_of_no_known_use_beside_the_network_is_refused_by_name(tmp_path: Path) -> None:
    tree = moco()
    tree["state_dict"]["module.mystery.weight"] = torch.ones(2)
    with pytest.raises(UserError, match=r"unrecognized tensors beside it: module\.mystery\.weight"):
        load(written(tree, tmp_path))


def test_a_network_without_batch_statistics_is_refused_and_without_step_counters_reported(tmp_path: Path) -> None:
    weights = small()
    without_steps = {n: t for n, t in weights.items() if "num_batches" not in n}
    candidate = load(written(without_steps, tmp_path))
    assert candidate.digest == digest(weights)
    assert any("num_batches_tracked" in line for line in candidate.report.assumed)
    with pytest.raises(UserError, match=r"missing bn1\.running_mean"):
        load(written({n: t for n, t in weights.items() if "running" not in n and "num_b" not in n}, tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("layer1.0.conv1.weight", float("nan"), "NaN"),
        ("bn1.bias", float("inf"), "infinite"),
        ("bn1.running_var", -1.0, "negative"),
    ],
)
def test_values_no_network_has_are_refused_by_name(name: str, value: float, told: str, tmp_path: Path) -> None:
    weights = small()
    weights[name].view(-1)[0] = value
    with pytest.raises(UserError, match=f"{name} has .*{told}"):
        load(written(weights, tmp_path))


def test_integer_weights_are_refused_by_name(tmp_path: Path) -> None:
    weights = small()
    weights["conv1.weight"] = weights["conv1.weight"].to(torch.int8)
    with pytest.raises(UserError, match=r"conv1\.weight is torch\.int8"):
        load(written(weights, tmp_path))


def test_files_without_a_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no network of a known architecture among 2 tensors: weight, bias"):
        load(written(nn.Linear(4, 2).state_dict(), tmp_path))
    unknown = {f"some.{at}.layer": torch.ones(3) for at in range(30)}
    with pytest.raises(UserError, match=r"(?s)no network of a known architecture.*--as arch=timm:NAME"):
        load(written(unknown, tmp_path))
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear, which is never executed"):
        load(written(nn.Linear(4, 2), tmp_path))


def test_our_own_file_comes_back_bit_identical_with_its_card(tmp_path: Path) -> None:
    network = backbones.build(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125}), seed=3)
    origin = Origin(method="intl", recipe="intl-digits", epochs=7, seed=3)
    card = Card(architecture=network.architecture, preprocess=Preprocess(size=None, crop=48), origin=origin)
    path = tmp_path / "backbone.safetensors"
    identity = save(path, network.state_dict(), card)
    candidate = load(path)
    assert candidate.card == card
    assert candidate.digest == identity == digest(candidate.backbone.state_dict())
    assert candidate.name == "intl-digits"
    assert candidate.report.assumed == []
    assert load(path, name="mine").name == "mine"


def test_our_own_file_is_refused_when_a_value_or_the_architecture_is_another(tmp_path: Path) -> None:
    network = backbones.build(Architecture(family="resnet", arguments={"depth": 10, "width": 0.125}), seed=3)
    path = tmp_path / "backbone.safetensors"
    save(path, network.state_dict(), Card(architecture=network.architecture, preprocess=Preprocess()))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="digest does not match"):
        load(path)
    wider = Architecture(family="resnet", arguments={"depth": 10, "width": 0.25})
    save(path, network.state_dict(), Card(architecture=wider, preprocess=Preprocess()))
    with pytest.raises(UserError, match=r"mismatch\(es\) with resnet10-w0\.25: conv1\.weight"):
        load(path)


def test_reading_for_recognition_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = written(small(), tmp_path)
    before = path.read_bytes()
    recognize(reading.read(path)).weights["conv1.weight"].zero_()
    assert path.read_bytes() == before


def test_a_random_control_is_the_same_network_for_the_same_seed() -> None:
    architecture = Architecture(family="resnet", arguments={"depth": 10, "width": 0.125})
    first, again, other = (random_control(architecture, Preprocess(), seed) for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert first.name == first.card.origin.method == "random-init"
    assert first.card.origin.seed == 0
    assert first.file_sha256 is None
    assert first.card.architecture == backbones.complete(architecture)


def test_a_live_module_is_averaged_over_space_and_keeps_its_own_weights() -> None:
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5).eval())
    before = digest(module.state_dict())
    candidate = wrap(module, "mine", Preprocess(size=None, crop=8))
    assert [part.training for part in module] == [True, False]
    module.eval()
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(candidate.backbone(images), module(images).mean((2, 3)))
    assert before == digest(module.state_dict())
    assert candidate.backbone.width == 5
    assert candidate.card.architecture.name == "torch.nn.modules.container.Sequential"


def test_a_live_module_that_gives_no_features_is_refused() -> None:
    with pytest.raises(UserError, match=r"it returned \[8\]"):
        wrap(nn.Sequential(nn.Flatten(0, -1), nn.Linear(12, 8)), "flat", Preprocess(size=None, crop=2))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("moco.pth.tar", "moco"),
        ("run.v2.safetensors", "run.v2"),
        ("resnet50.PTH", "resnet50"),
        ("plain", "plain"),
        (".pth", ".pth"),
    ],
)
def test_a_name_is_the_files_without_its_endings(name: str, expected: str) -> None:
    assert stem(Path("somewhere") / name) == expected
