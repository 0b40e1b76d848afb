"""Networks of libraries: found by names and shapes, said by a person or a file beside, never taken for another one."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import library_networks, reading, shape_index
from transferbench.checkpoints.convert import convert
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load, random_control
from transferbench.checkpoints.states import state_dicts
from transferbench.errors import UserError
from transferbench.listing import facts

CLOSE = 1e-5
SMALL = {"img_size": 32, "patch_size": 8}


def lively(name: str, **arguments: Any) -> Any:
    """A network of timm whose norms and biases are not those of a fresh one."""
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = timm.create_model(name, **arguments)
    for key, tensor in network.state_dict().items():
        if key.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
        elif tensor.is_floating_point() and tensor.ndim < 2:
            tensor.add_(torch.randn(tensor.shape, generator=draw) * 0.1)
    return network.eval()


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def off(candidate: Any, network: Any, side: int = 64) -> float:
    """How far the features are from the library's own, of the largest."""
    network.reset_classifier(0)
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, computed = network(images), candidate.backbone(images)
    return float((expected - computed).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", "test_nfnet", "test_efficientnet", "cpubone_t0"])
def test_a_network_of_timm_is_found_by_names_and_shapes(name: str, tmp_path: Path) -> None:
    network = lively(name, num_classes=7)
    candidate = load(saved(network, tmp_path / "some.pth"))
    assert (candidate.card.architecture.family, candidate.card.architecture.name) == ("timm", name)
    assert off(candidate, network) <= CLOSE
    assert sum(map(len, candidate.report.dropped.values())) == 2


def test_it_is_found_below_any_prefix_and_beside_a_head(tmp_path: Path) -> None:
    network = lively("test_convnext", num_classes=0)
    tree = {f"module.student.trunk.{name}": tensor for name, tensor in network.state_dict().items()}
    tree |= {"module.student.projector.0.weight": torch.ones(3, 3)}
    torch.save({"state_dict": tree, "epoch": 3}, tmp_path / "some.pth")
    candidate = load(tmp_path / "some.pth")
    assert candidate.card.architecture.name == "test_convnext"
    assert list(candidate.report.dropped) == ["projector"]
    assert off(candidate, network) <= CLOSE


def test_names_and_shapes_of_several_networks_must_be_chosen_from(tmp_path: Path) -> None:
    network = lively("test_efficientnet_ln", num_classes=0)
    path = saved(network, tmp_path / "some.pth")
    with pytest.raises(UserError, match=r"timm:test_\w+, timm:test_\w+\. Say which it is"):
        load(path)
    for name in ("test_efficientnet_ln", "test_efficientnet_gn"):
        candidate = load(path, overrides=[f"arch=timm:{name}"])
        assert candidate.card.architecture.name == name
    assert off(load(path, overrides=["arch=timm:test_efficientnet_ln"]), network) <= CLOSE


def test_a_plain_network_says_which_others_have_its_names() -> None:
    index = shape_index.index()
    shapes = backbones.expected_shapes(Architecture(family="resnet", arguments={"depth": 50}))
    names = {entry.name for entry in index.fits(shapes)}
    assert {"resnet50", "resnetaa50", "resnetblur50"} <= names
    assert len(list(shape_index.distinct(each for each in index.fits(shapes) if each.library == "timm"))) == 3


def test_a_network_whose_heads_we_would_guess_wrong_is_timms_own(tmp_path: Path) -> None:
    network = lively("test_vit", num_classes=3)
    candidate = load(saved(network, tmp_path / "some.pth"))
    assert candidate.card.architecture.family == "timm"
    assert off(candidate, network, 160) <= CLOSE


def test_one_for_images_of_another_size_is_found_too(tmp_path: Path) -> None:
    network = lively("test_vit", num_classes=0, img_size=96)
    candidate = load(saved(network, tmp_path / "some.pth"))
    assert candidate.card.preprocess.crop == 96
    assert off(candidate, network, 96) <= CLOSE


def test_a_file_beside_says_which_network_it_is_and_its_images(tmp_path: Path) -> None:
    network = lively("test_vit2", num_classes=5)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "model.safetensors")
    cfg = {"input_size": [3, 64, 64], "crop_pct": 0.5, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}
    config = {
        "architecture": "test_vit2",
        "model_args": {"img_size": 64},
        "pretrained_cfg": {**cfg, "interpolation": "bicubic"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    candidate = load(tmp_path)
    preprocess = candidate.card.preprocess
    assert (preprocess.size, preprocess.crop, preprocess.mean) == (128, 64, (0.1, 0.2, 0.3))
    assert candidate.name == tmp_path.name


def test_what_lies_beside_and_does_not_fit_is_said_and_left(tmp_path: Path) -> None:
    saved(lively("test_convnext", num_classes=0), tmp_path / "some.pth")
    cfg = {"input_size": [3, 64, 64], "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear"}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": cfg}))
    candidate = load(tmp_path / "some.pth")
    assert candidate.card.architecture.name == "test_convnext"
    assert any("config beside it is of another network" in line for line in candidate.report.assumed)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("arch=timm:test_convnex", "has no architecture 'test_convnex'.*Did you mean 'test_convnext'"),
        ("arch=timn:test_convnext", "expected LIBRARY:NAME"),
        ("arch=timm:hf-hub:some/thing", "has no architecture"),
        ("arch=timm:test_resnet", "nothing that resembles timm:test_resnet"),
    ],
)
def test_a_network_that_it_is_not_is_refused(stated: str, words: str, tmp_path: Path) -> None:
    path = saved(lively("test_convnext", num_classes=0), tmp_path / "some.pth")
    with pytest.raises(UserError, match=f"(?s){words}"):
        load(path, overrides=[stated])


@pytest.mark.parametrize("change", ["drop", "reshape", "rename", "add"])
def test_one_tensor_otherwise_is_refused(change: str, tmp_path: Path) -> None:
    state = lively("test_convnext", num_classes=0).state_dict()
    name = next(name for name in state if "conv_dw.weight" in name)
    tensor = state.pop(name)
    if change == "add":
        state |= {name: tensor, "stages.0.surprise.weight": torch.ones(3)}
    elif change == "rename":
        state[name.replace("conv_dw", "conv_xy")] = tensor
    elif change == "reshape":
        state[name] = tensor[:-1]
    torch.save(state, tmp_path / "some.pth")
    with pytest.raises(UserError):
        load(tmp_path / "some.pth")
    with pytest.raises(UserError, match=r"conv_dw|surprise"):
        load(tmp_path / "some.pth", overrides=["arch=timm:test_convnext"])


def test_it_goes_through_our_own_file_and_has_a_random_control(tmp_path: Path) -> None:
    path = saved(lively("test_convnext", num_classes=0), tmp_path / "some.pth")
    convert(path, tmp_path / "own.safetensors", "transferbench")
    first, again = load(path), load(tmp_path / "own.safetensors")
    assert first.digest == again.digest
    assert first.card.architecture == again.card.architecture
    control = random_control(first.card.architecture, first.card.preprocess, 0)
    other = random_control(first.card.architecture, first.card.preprocess, 1)
    assert len({first.digest, control.digest, other.digest}) == 3


@pytest.mark.parametrize("arguments", [{"pretrained": True}, {"checkpoint_path": "x.pth"}, {"act_layer": object()}])
def test_what_would_read_weights_or_is_no_plain_value_is_no_argument(arguments: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="invalid setting"):
        backbones.build(Architecture(family="timm", arguments={"name": "test_vit", "arguments": arguments}))


def test_two_networks_under_keys_are_chosen_by_their_key(tmp_path: Path) -> None:
    states = [
        lively("test_convnext", num_classes=0).state_dict(),
        timm.create_model("test_convnext", num_classes=0).state_dict(),
    ]
    torch.save({"student": states[0], "teacher": states[1], "epoch": 3}, tmp_path / "some.pth")
    with pytest.raises(UserError, match=r"2 networks .*: teacher, student\. Choose one with --encoder teacher"):
        load(tmp_path / "some.pth")
    digests = {load(tmp_path / "some.pth", encoder=key).digest for key in ("student", "teacher")}
    assert len(digests) == 2


def test_arrays_of_numpy_are_read_and_what_looks_untrained_is_said(tmp_path: Path) -> None:
    state = timm.create_model("test_convnext", num_classes=0).state_dict()
    np.savez(tmp_path / "some.npz", **{name.replace(".", "/"): tensor.numpy() for name, tensor in state.items()})
    assert inspect(tmp_path / "some.npz").architecture_name == "test_convnext"
    zeros: dict[str, Tensor] = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    torch.save(zeros, tmp_path / "zeros.pth")
    assert facts(inspect(tmp_path / "zeros.pth"))["warning"] == "all weights are zero"
    np.savez(tmp_path / "words.npz", some=np.array(["a"]))
    with pytest.raises(UserError, match="expected numbers"):
        inspect(tmp_path / "words.npz")


def npz(path: Path, arrays: dict[str, tuple[int, bytes]]) -> Path:
    """An archive of float32 arrays, each with the number of values that it states, and its bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, (stated, content) in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (stated,)}
                np.lib.format.write_array_header_1_0(file, header)
                file.write(content)
    return path


def test_an_archive_of_arrays_that_says_two_things_is_refused(tmp_path: Path) -> None:
    four = np.ones(4, np.float32).tobytes()
    assert torch.equal(reading.read(npz(tmp_path / "a.npz", {"a/b": (4, four)})).tree["a.b"], torch.ones(4))
    with pytest.raises(UserError, match=r"holds 'a\.b' twice"):
        reading.read(npz(tmp_path / "b.npz", {"a.b": (4, four), "a/b": (4, four)}))
    with pytest.raises(UserError, match=r"'a' holds more than the \[3\] values it states"):
        reading.read(npz(tmp_path / "c.npz", {"a": (3, four)}))
    with pytest.raises(UserError, match="damaged"):
        reading.read(npz(tmp_path / "d.npz", {"a": (5, four)}))
    damaged = npz(tmp_path / "e.npz", {"a": (4, four)})
    damaged.write_bytes(damaged.read_bytes().replace(four, four[:-1] + b"\x00"))
    with pytest.raises(UserError, match=r"damaged.*CRC"):
        reading.read(damaged)


def test_what_is_left_out_is_counted_by_prefix(tmp_path: Path) -> None:
    state = lively("test_convnext", num_classes=0).state_dict()
    state |= {f"decoder.{part}.{at}.weight": torch.ones(2) for part in ("a", "b") for at in range(9)}
    torch.save(state, tmp_path / "some.pth")
    inspection = inspect(tmp_path / "some.pth")
    assert "(9)" in facts(inspection)["dropped, decoder"]
    assert facts(inspection, has_all_names=True)["dropped, decoder"].count("decoder.") == 18


def test_every_architecture_of_timm_is_in_the_index() -> None:
    version, entries = shape_index.read("timm", (shape_index.FOLDER / "timm.txt").read_text())
    if version != timm.__version__:
        pytest.skip(f"the index is of timm {version}")
    assert {entry.name for entry in entries} == set(timm.list_models())
    assert all(len(entry.structure) == 16 for entry in entries)


def test_a_stated_architecture_is_placed_where_it_fits_best() -> None:
    network = timm.create_model("test_convnext", num_classes=0)
    state = {f"a.{name}": tensor for name, tensor in network.state_dict().items()}
    broken = {f"b.{name}": tensor for name, tensor in list(network.state_dict().items())[3:]}
    architecture = Architecture(family="timm", arguments={"name": "test_convnext"})
    places = library_networks.fitted(state_dicts({**broken, **state}), architecture)
    assert [(place.prefix, place.misfits) for place in places] == [("a.", 0), ("b.", 3)]


def test_a_batch_norm_without_statistics_is_no_group_norm(tmp_path: Path) -> None:
    network = timm.create_model("resnet50", num_classes=0)
    state = {name: tensor.half() for name, tensor in network.named_parameters()}
    torch.save(state, tmp_path / "parameters.pth")
    with pytest.raises(UserError, match=r"statistics were not saved.*--as arch=timm:resnet50_gn"):
        load(tmp_path / "parameters.pth")
    torch.save(timm.create_model("test_efficientnet_gn", num_classes=0).state_dict(), tmp_path / "group.pth")
    stated = load(tmp_path / "group.pth", overrides=["arch=timm:test_efficientnet_gn"])
    assert stated.card.architecture.name == "test_efficientnet_gn"


def test_a_family_of_ours_that_it_is_not_is_refused(tmp_path: Path) -> None:
    path = saved(timm.create_model("test_convnext", num_classes=0), tmp_path / "some.pth")
    with pytest.raises(UserError, match=r"is no resnet.*timm:test_convnext"):
        load(path, overrides=["arch=resnet"])


@pytest.mark.parametrize("arguments", [{"depth": -1}, {"depth": 10**9}, {"embed_dim": 10**9}, {"norm_layer": 5}])
def test_a_file_beside_with_sizes_of_no_network_is_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    path = saved(timm.create_model("test_vit", num_classes=0), tmp_path / "model.safetensors")
    images = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    config = {"architecture": "test_vit", "pretrained_cfg": images, "model_args": arguments}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config.json is not as timm writes it"):
        load(path)


def test_networks_of_another_depth_are_told_apart_too(tmp_path: Path) -> None:
    path = saved(lively("vit_small_patch16_rope_ape_224", num_classes=0, depth=2), tmp_path / "some.pth")
    with pytest.raises(UserError, match=r"timm:vit_small_patch16_rope_ape_224.*timm:deit3_small_patch16"):
        load(path)
    plain = saved(lively("vit_tiny_patch16_224", num_classes=0, depth=2), tmp_path / "plain.pth")
    assert load(plain).card.architecture.family == "vit"


@pytest.mark.parametrize(
    ("config", "words"),
    [('{"architecture": "no_such", "pretrained_cfg": {}}', "is of 'no_such'"), ("{broken", "cannot be read as JSON")],
)
def test_what_lies_beside_and_tells_nothing_is_said(config: str, words: str, tmp_path: Path) -> None:
    path = saved(lively("test_convnext", num_classes=0), tmp_path / "some.pth")
    cfg = '{"input_size": [3, 64, 64], "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear"}'
    (tmp_path / "config.json").write_text(config.replace("{}", cfg))
    assert any(words in line for line in load(path).report.assumed)


def test_what_a_librarys_network_is_given_needs_its_name(tmp_path: Path) -> None:
    path = saved(lively("test_resnet", num_classes=0), tmp_path / "some.pth")
    with pytest.raises(UserError, match="needs its name: --as arch=timm:NAME"):
        load(path, overrides=["arguments.in_chans=3"])


def test_what_no_tensor_tells_of_a_network_that_no_library_has_is_said(tmp_path: Path) -> None:
    sizes = {"dim": 48, "depth": 2, "heads": 3, "patch_size": 8, "image_size": 32}
    network = backbones.build(Architecture(family="vit", arguments=sizes))
    torch.save(network.state_dict(), tmp_path / "network.pth")
    assumed = load(tmp_path / "network.pth").report.assumed
    assert any("no rotary positions, layer norms of epsilon 1e-06" in line for line in assumed)
