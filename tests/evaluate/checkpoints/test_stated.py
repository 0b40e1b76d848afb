"""What a person says of a file with --as, and what its layout and its neighbors say."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import digest
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load
from transferbench.checkpoints.naming import SCHEMES
from transferbench.errors import UserError

Weights = dict[str, Tensor]


def network(family: str, seed: int = 1, **arguments: Any) -> Weights:
    return dict(backbones.build(Architecture(family=family, arguments=arguments), seed).state_dict())


def small(**more: Any) -> Weights:
    return network("resnet", depth=10, width=0.125, **more)


def under(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: tensor for name, tensor in weights.items()}


def written(tree: Any, folder: Path, name: str = "some.pth") -> Path:
    torch.save(tree, folder / name)
    return folder / name


def test_what_is_said_changes_network_and_images_and_is_reported(tmp_path: Path) -> None:
    path = written(small(stem="cifar"), tmp_path)
    said = ["stem=small_maxpool", "conv1_padding=2", "mean=[0.5, 0.5, 0.5]", "crop=48", "size=null"]
    candidate = load(path, overrides=said)
    arguments, images = candidate.card.architecture.arguments, candidate.card.preprocess
    assert (arguments["stem"], arguments["conv1_padding"]) == ("small_maxpool", 2)
    assert (images.mean, images.crop, images.size) == ((0.5, 0.5, 0.5), 48, None)
    assert "stem is small_maxpool, not cifar" in candidate.report.overridden
    assert len(candidate.report.overridden) == len(said)
    assert candidate.backbone.stages(torch.zeros(1, 3, 48, 48))["stem"].shape[-1] == 25
    assert inspect(path, overrides=said).report == candidate.report
    assert load(path).report.overridden == []
    assert load(path).digest == candidate.digest


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("stemm=cifar", "no such argument of a resnet .* Did you mean 'stem'"),
        ("crp=32", "Did you mean 'crop'"),
        ("stem=round", "stem: found 'round'"),
        ("stem", r"--as takes NAME=VALUE"),
        ("depth=18", r"does not fit with --as depth=18: missing layer1\.1\.conv1\.weight"),
        ("crop=0", "crop: found 0"),
    ],
)
def test_what_cannot_be_is_refused_with_near_names(said: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        load(written(small(), tmp_path), overrides=[said])


def test_networks_answer_to_place_prefix_and_kin_of_their_label(tmp_path: Path) -> None:
    tree = {
        "student": under("module.backbone.", network("resnet", 1, depth=10, width=0.125)),
        "teacher": under("backbone.", network("resnet", 2, depth=10, width=0.125)),
    }
    for state, prefix in (("student", "module."), ("teacher", "")):
        tree[state][f"{prefix}head.last_layer.weight_g"] = torch.ones(2, 1)
    path = written(tree, tmp_path)
    default = load(path)
    assert default.report.format == "dino"
    assert default.report.encoder.startswith("teacher")
    assert {load(path, encoder=name).digest for name in ("teacher", "ema", "target")} == {default.digest}
    assert load(path, encoder="online").digest == load(path, encoder="student").digest != default.digest
    with pytest.raises(UserError, match=r"Unknown network of .* 'theacher'.*Did you mean 'teacher'"):
        load(path, encoder="theacher")


def test_a_lost_first_network_is_never_replaced_by_the_second(tmp_path: Path) -> None:
    whole = under("encoder_k.", small()) | {"queue": torch.ones(2, 2), "encoder_q.fc.weight": torch.ones(4, 64)}
    half = dict(list(under("encoder_q.", small()).items())[:40])
    with pytest.raises(
        UserError, match=r"moco(.|\n)*missing layer3\.0\.bn1\.running_var .*encoder_q\.layer3\.0\.bn1\.running_var"
    ):
        load(written(whole | half, tmp_path))
    elsewhere = under("zzz.", network("resnet", 5, depth=10, width=0.125))
    assert load(written(whole | elsewhere, tmp_path), encoder="zzz").report.encoder.startswith("zzz")


def huggingface(folder: Path, **config: Any) -> Path:
    names = next(n for _, m in SCHEMES.all() for n in m.NAMINGS if n.name == "transformers ViT")
    tree: Weights = {}
    for name, tensor in network("vit", dim=128, heads=2, depth=2, patch_size=8, image_size=32).items():
        spelled = names.spell(name)
        tree |= dict(zip(spelled, tensor.chunk(3) if len(spelled) == 3 else [tensor], strict=True))
    safetensors.torch.save_file({n: t.contiguous() for n, t in tree.items()}, folder / "model.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


def test_a_configuration_beside_the_file_is_read(tmp_path: Path) -> None:
    path = huggingface(tmp_path)
    alone = load(path)
    assert (alone.card.architecture.arguments["heads"], alone.card.architecture.arguments["norm_eps"]) == (2, 1e-12)
    assert any("config.json" in line for line in alone.report.assumed)
    huggingface(tmp_path, num_attention_heads=4, layer_norm_eps=1e-5)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    told = load(path)
    assert (told.card.architecture.arguments["heads"], told.card.architecture.arguments["norm_eps"]) == (4, 1e-5)
    assert told.card.preprocess.mean == (0.5, 0.5, 0.5)
    assert not any("config.json" in line for line in told.report.assumed)


@pytest.mark.parametrize(("author", "is_msra"), [("MSRA", True), ("Caffe2", True), ("torchvision", False)])
def test_detectron2_weights_stride_where_their_author_did(author: str, is_msra: bool, tmp_path: Path) -> None:
    names = next(n for _, m in SCHEMES.all() for n in m.NAMINGS if n.name == "detectron2 ResNet")
    weights = network("resnet", depth=26, width=0.125)
    model = {names.spell(n)[0]: t for n, t in weights.items() if not n.endswith("num_batches_tracked")}
    card = load(written({"model": model, "__author__": author}, tmp_path)).card
    assert card.architecture.arguments["stride_in_1x1"] is is_msra
    assert (card.preprocess.channel_order, card.preprocess.input_range) == (("bgr", 255) if is_msra else ("rgb", 1))


def test_the_backbone_of_a_trained_c4_detector_is_put_together_from_its_two_places(tmp_path: Path) -> None:
    names = next(n for _, m in SCHEMES.all() for n in m.NAMINGS if n.name == "detectron2 ResNet")
    weights = network("resnet", depth=10, width=0.125)
    spelled = {names.spell(name)[0]: tensor for name, tensor in weights.items()}
    model = {("roi_heads." if n.startswith("res5") else "backbone.") + n: t for n, t in spelled.items()}
    parts = ("proposal_generator.rpn_head.conv", "roi_heads.box_predictor.cls_score", "roi_heads.res5.1")
    head = {f"{part}.{kind}": torch.ones(4) for part in parts for kind in ("weight", "bias")}
    trainer = {"iteration": 9, "_trainer": {"optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}}}}
    found = load(written({"model": model | head, "trainer": trainer, "iteration": 9}, tmp_path, "model_final.pth"))
    assert (found.report.format, found.report.matched) == ("detectron2", len(weights))
    assert found.digest == digest(weights)
    assert found.report.dropped == {"detector": list(head)}
    assert (found.card.preprocess.channel_order, found.card.preprocess.input_range) == ("bgr", 255)
    del model["roi_heads.res5.0.conv2.weight"]
    with pytest.raises(UserError, match=r"in the file: roi_heads\.res5\.0\.conv2\.weight"):
        load(written({"model": model | head}, tmp_path))


def test_a_classifier_is_told_of_and_a_projector_of_the_same_name_is_not(tmp_path: Path) -> None:
    for rows, is_classifier in ((1000, True), (10, True), (128, False), (8192, False)):
        tree = small() | {"fc.weight": torch.ones(rows, 64), "fc.bias": torch.ones(rows)}
        said = load(written(tree, tmp_path)).report.assumed
        assert any(f"classifier of {rows} classes" in line for line in said) is is_classifier


@pytest.mark.parametrize("middle", ["_orig_mod.", "_fsdp_wrapped_module."])
def test_wrappers_of_a_part_are_stripped_too(middle: str, tmp_path: Path) -> None:
    tree = {"state_dict": under(f"backbone.{middle}", small())}
    assert load(written(tree, tmp_path)).backbone.width == 64


def test_names_without_the_wrapper_of_most_are_not_mixed_with_them(tmp_path: Path) -> None:
    tree = under("module.", small())
    tree["layer4.0.bn2.bias"] = tree.pop("module.layer4.0.bn2.bias")
    with pytest.raises(
        UserError, match=r"missing layer4\.0\.bn2\.bias(.|\n)*unexpected .*in the file: layer4\.0\.bn2\.bias"
    ):
        load(written(tree, tmp_path))


def moco_positions(side: int, dim: int) -> Tensor:
    """One number at a time: a quarter sines of the row, a quarter cosines, then the same of the column."""
    quarter = dim // 4
    found = torch.zeros(1, side * side + 1, dim)
    for row in range(side):
        for column in range(side):
            for k in range(quarter):
                angles = [place / 10000 ** (k / quarter) for place in (row, column)]
                values = [f(angle) for angle in angles for f in (math.sin, math.cos)]
                for part, value in enumerate(values):
                    found[0, 1 + row * side + column, part * quarter + k] = value
    return found


def test_converted_moco_v3_is_known_by_its_positions_and_probed_by_its_own_name(tmp_path: Path) -> None:
    weights = network("vit", dim=192, heads=3, depth=2, image_size=64)
    plain = load(written({"model": weights}, tmp_path)).card.architecture.arguments
    fixed = {**weights, "pos_embed": moco_positions(4, 192)}
    converted = load(written({"model": fixed}, tmp_path))
    swapped = {**weights, "pos_embed": torch.cat(fixed["pos_embed"].split(96, 2)[::-1], 2)}
    probed = load(written({"arch": "vit_small", "state_dict": under("module.", weights)}, tmp_path))
    timms = load(written({"arch": "vit_small_patch16_224", "state_dict": weights}, tmp_path))
    assert plain["heads"] == timms.card.architecture.arguments["heads"] == 3
    assert load(written({"model": swapped}, tmp_path)).card.architecture.arguments["heads"] == 3
    assert converted.card.architecture.arguments["heads"] == probed.card.architecture.arguments["heads"] == 12
    assert any("heads=12" in line for line in converted.report.assumed)


def test_profilers_counts_and_callbacks_are_left_out_wherever_they_are(tmp_path: Path) -> None:
    names = next(n for _, m in SCHEMES.all() for n in m.NAMINGS if n.name == "Sequential without max-pool")
    tree = {f"f.{names.spell(n)[0]}": t for n, t in small().items()}
    tree |= {name: torch.ones(1) for name in ("total_ops", "f.0.total_params", "f.3.0.conv1.total_ops")}
    report = load(written(tree | {"callbacks_modules.probe.weight": torch.ones(2)}, tmp_path)).report
    assert len(report.dropped["operation counts of a profiler"]) == 3
    assert report.dropped["callbacks"] == ["callbacks_modules.probe.weight"]


def test_of_mmengines_pair_the_average_is_evaluated(tmp_path: Path) -> None:
    average, raw = (under("backbone.", network("resnet", seed, depth=10, width=0.125)) for seed in (1, 2))
    tree = {"meta": {}, "state_dict": average, "ema_state_dict": {"steps": torch.ones(()), **under("module.", raw)}}
    path = written(tree, tmp_path)
    assert load(path).digest == load(path, encoder="ema").digest != load(path, encoder="online").digest


def test_timm_without_an_average_gives_the_trained_network(tmp_path: Path) -> None:
    tree = {"state_dict": small(), "version": 2, "args": {"lr": 0.1}, "epoch": 3}
    assert load(written(tree, tmp_path)).report.format == "timm"
