"""Files laid out as their sources lay them out: loaded with the sources' features, or refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import pytest
import torch
from foreign import read
from foreign import unfilled as blank
from torch import Tensor

from transferbench.backbones import Architecture, build
from transferbench.checkpoints.load import load
from transferbench.checkpoints.reading import Contents
from transferbench.checkpoints.recognition import recognize
from transferbench.errors import UserError

State = dict[str, Tensor]


CASES = foreign.skeletons()
LOADED = [name for name, case in CASES.items() if case["encoders"]]
SOME = {
    "moco_v2_resnet18",
    "detectron2_pkl_from_moco_resnet18",
    "hf_dinov2_with_registers_tiny",
    "dino_vit_tiny_p8",
    "mmselfsup_mae_vit_tiny",
    "simsiam_patrickhua_cifar_resnet18",
    "timm_train_vit_tiny",
    "torchvision_reference_train_resnet18",
    "simmim_swin_tiny_w6_192",
}
BROKEN = [pytest.param(name, marks=[] if name in SOME else pytest.mark.slow) for name in LOADED]
"""Layouts that differ in what a damage does to them run always, the others in `make test-all`."""
DIFFERENT = {
    "moco_v2_resnet18",
    "detectron2_pkl_from_moco_resnet18",
    "intl_cifar10_resnet18",
    "htdt_wmse_stl10_resnet18",
    "hf_dinov2_swiglu_tiny",
    "hf_dinov2_with_registers_tiny",
    "mae_finetuned_vit_tiny",
    "simmim_swin_tiny_w6_192",
}
COMPUTED = [pytest.param(name, marks=[] if name in DIFFERENT else pytest.mark.slow) for name in LOADED]
"""Networks that compute what no other does run always, the others in `make test-all`: test_checkpoints_cards.py shows
that the architecture and the images on their cards are still those whose features that run compares."""
REFUSED = {
    "dinov3_vit_tiny": r"missing blocks\.0\.attn\.q_bias \[192\]",
    "dino_linear_head_only": r"no network .* among 2 tensors: .*linear\.weight.*a head without its backbone",
    "variant_no_bn_buffers_resnet18": r"missing bn1\.running_mean(.|\n)*No batch-norm statistics",
    "pycontrast_cmc_resnet50": "two networks of half the width",
    "simclrv2_separius_r50_1x_sk1": "selective kernels",
}
SETTLED = {
    "intl_cifar10_resnet18": {"pre_pad": 1},
    "solo_byol_cifar100_resnet18": {"conv1_padding": 2},
    "htdt_wmse_stl10_resnet18": {"stem": "small_maxpool"},
    "byol_converted_resnet50": {"same_padding": True},
    "mocov3_vit_small": {"heads": 12},
    "hf_vitmae_pretraining_tiny": {"norm_eps": 1e-12},
    "mae_finetuned_vit_tiny": {"norm_pooled": True, "pooling": "mean"},
    "dinov2_swiglu_tiny": {"resampling": "offset", "mlp": "swiglu"},
    "dinov2_hub_vits14_reg4": {"resampling": "antialias", "position_for_prefix": False},
    "timm_hub_resnet50d": {"stem": "deep", "avg_down": True},
}
"""What these networks compute that names and shapes do not say, or say in a way of their own."""


@pytest.mark.parametrize("name", COMPUTED)
def test_a_file_gives_the_weights_and_the_features_of_its_source(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    tree = foreign.filled(case["tree"], foreign.drawn(torch.Generator().manual_seed(0)))
    encoder = case["encoders"][case["default"]]
    expected = foreign.canonical(tree, encoder)
    candidate = load(foreign.write(case, tree, tmp_path))
    state = candidate.backbone.state_dict()
    assert {n for n in state if n not in expected} <= {n for n in state if n.endswith("num_batches_tracked")}
    assert all(torch.equal(state[n], tensor.to(state[n].dtype)) for n, tensor in expected.items())
    theirs = foreign.network(encoder["network"])
    theirs.load_state_dict({n: state[n] for n in theirs.state_dict()}, strict=True)
    size = min(case["size"], 64) if encoder["network"]["family"] == "torchvision_resnet" else case["size"]
    images = torch.randn(2 if size < 200 else 1, 3, size, size, generator=torch.Generator().manual_seed(1))
    features = foreign.features(theirs, encoder["network"], images)
    with torch.no_grad():
        found = candidate.backbone(images)
    assert features.std() > 1e-3
    assert (found - features).abs().max() <= 1e-4 * features.abs().max()


@pytest.fixture
def valueless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank tensors have no values to look at."""
    monkeypatch.setattr("transferbench.checkpoints.recognition.digest", lambda weights: "of blank tensors")
    monkeypatch.setattr("transferbench.checkpoints.values._problem", lambda name, tensor: "")
    monkeypatch.setattr("transferbench.checkpoints.choice.compute_alike", lambda ours, theirs: True)


@pytest.mark.usefixtures("valueless")
@pytest.mark.parametrize("name", SETTLED)
def test_what_keys_do_not_say_is_on_the_card_and_in_the_report(name: str) -> None:
    match = read(CASES[name], blank(CASES[name]))
    arguments = match.card.architecture.arguments
    assert {key: arguments[key] for key in SETTLED[name]} == SETTLED[name]
    assert match.report.assumed or "resnet50d" in name


@pytest.mark.usefixtures("valueless")
@pytest.mark.parametrize("name", BROKEN)
def test_every_network_of_a_file_is_found_under_its_label(name: str) -> None:
    case, tree = CASES[name], blank(CASES[name])
    for label, encoder in case["encoders"].items():
        assert foreign.taken(read(case, tree, label), tree, encoder)


@pytest.mark.usefixtures("valueless")
def test_dinov3_of_transformers_is_read_without_its_config() -> None:
    match = read(CASES["hf_dinov3_vit_tiny"], blank(CASES["hf_dinov3_vit_tiny"]))
    arguments = {"depth": 4, "num_reg_tokens": 0}
    assert match.card.architecture.arguments["name"] == "vit_tiny_patch16_dinov3_qkvb"
    assert match.card.architecture.arguments["arguments"] == arguments


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UserError, match=REFUSED[name]):
        read(CASES[name], blank(CASES[name]))


def changed(case: dict[str, Any], change: Callable[[State], None]) -> Any:
    """The tree after a change to the state dict of the default network."""
    tree = blank(case)
    change(foreign.holder(tree, case["encoders"][case["default"]]))
    return tree


def renamed(state: State, names: list[str], prefix: str, new: str) -> None:
    items = list(state.items())
    state.clear()
    state.update({new + name.removeprefix(prefix) if name in names else name: tensor for name, tensor in items})


@pytest.mark.parametrize("name", BROKEN)
def test_one_tensor_more_less_or_misshapen_is_refused_by_name(name: str) -> None:
    case = CASES[name]
    encoder = case["encoders"][case["default"]]
    names = foreign.sources(encoder)
    victim = names[len(names) // 3]
    misshapen = torch.ones(3, 2, 1)
    for change, told in (
        (lambda state: state.pop(victim), victim),
        (lambda state: state.update({victim: misshapen}), victim),
        (lambda state: state.update({encoder["prefix"] + "mystery.weight": misshapen}), "mystery.weight"),
    ):
        with pytest.raises(UserError) as refusal:
            read(case, changed(case, change))
        assert told in str(refusal.value)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_another_prefix_on_some_names_is_refused_by_name(name: str, share: float) -> None:
    case = CASES[name]
    encoder = case["encoders"][case["default"]]
    prefix, names = encoder["prefix"], foreign.sources(encoder)
    some = names[: round(share * len(names))]
    for new in ("zzz." + prefix, "zzz."):
        tree = changed(case, lambda state, new=new: renamed(state, some, prefix, new))
        with pytest.raises(UserError) as refusal:
            read(case, tree)
        assert any(n.removeprefix(prefix) in str(refusal.value) for n in names)


@pytest.mark.usefixtures("valueless")
@pytest.mark.parametrize("name", BROKEN)
def test_an_unknown_prefix_on_all_names_is_the_same_network_of_unknown_source(name: str) -> None:
    case = CASES[name]
    encoder = case["encoders"][case["default"]]
    prefix = encoder["prefix"]
    whole = [*foreign.sources(encoder), "mask_token", prefix + "mask_token"]
    tree = changed(case, lambda state: renamed(state, whole, prefix, "some.trunk."))
    expected = {t.data_ptr() for n, t in foreign.holder(tree, encoder).items() if n.startswith("some.trunk.")}
    match = read(case, tree, "some.trunk" if "vissl" not in name else None)
    assert match.report.format == "unknown"
    assert any("source is unknown" in line for line in match.report.assumed)
    assert len(expected & {tensor.data_ptr() for tensor in match.weights.values()}) > len(expected) // 2


def test_a_misshapen_norm_of_a_swin_is_named() -> None:
    case = CASES["simmim_swin_tiny_w6_192"]
    name = "encoder.patch_embed.norm.weight"
    with pytest.raises(UserError, match=name):
        read(case, changed(case, lambda state: state.update({name: torch.ones(97)})))


def test_registers_that_are_missing_are_told_where_anything_tells(tmp_path: Path) -> None:
    shape = {"dim": 64, "heads": 1, "depth": 2, "patch_size": 14, "image_size": 56, "layer_scale": True}
    timm = Architecture(family="vit", arguments={**shape, "registers": 2, "position_for_prefix": False})
    weights = dict(build(timm, seed=1).state_dict())
    assert recognize(Contents(tmp_path / "x.pth", "torch zip", weights)).card.architecture.arguments["registers"] == 2
    del weights["reg_token"]
    with pytest.raises(UserError, match="reg_token is missing"):
        recognize(Contents(tmp_path / "x.pth", "torch zip", weights))
    tree = blank(CASES["hf_dinov2_with_registers_tiny"])
    contents = Contents(tmp_path / "model.safetensors", "safetensors", tree)
    (tmp_path / "config.json").write_text('{"num_register_tokens": 4}')
    assert recognize(contents).report.format == "huggingface"
    del tree["embeddings.register_tokens"]
    with pytest.raises(UserError, match=r"embeddings\.register_tokens is missing"):
        recognize(contents)
