"""What a few bytes of a checkpoint could take in memory or time is held against limits before it is taken."""

import io
import json
import os
import pickle
import struct
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import digest, networks, reading, safe_globals, states, unpickler, values
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load
from transferbench.errors import UserError

SMALL = Architecture(family="resnet", arguments={"depth": 10, "width": 0.125})
IMAGES = {"size": 32, "crop": 32}


def weights() -> dict[str, Tensor]:
    return backbones.build(SMALL, seed=1).state_dict()


def saved(path: Path, tree: Any, flipped: bytes = b"", at: int = 0) -> Path:
    """A file of torch's with one bit of it another, `at` bytes behind `flipped`."""
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    content = bytearray(buffer.getvalue())
    if flipped:
        content[content.index(flipped) + at] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("part", "at"), [(b"data/0", 200), (b"data.pkl", 200)])
def test_a_bit_that_flipped_in_a_zip_is_noticed(part: bytes, at: int, tmp_path: Path) -> None:
    tree = {"state_dict": weights(), "note": "n" * 400}
    load(saved(tmp_path / "a.pth", tree))
    for judge in (load, inspect):
        with pytest.raises(UserError, match=r"does not match its checksum\. Download or copy it again"):
            judge(saved(tmp_path / "a.pth", tree, part, at))


def test_a_zip_without_checksums_is_read(tmp_path: Path) -> None:
    kept = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path / "a.pth", weights())
    finally:
        torch.serialization.set_crc32_options(kept)
    assert load(path).digest == digest(weights())


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", weights())
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(next(name for name in archive.namelist() if name.endswith("data/0")), b"other")
    with pytest.raises(UserError, match="holds 'archive/data/0' twice"):
        load(path)


def test_a_pipe_and_a_device_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pth")
    for path in (tmp_path / "a.pth", Path("/dev/zero")):
        with pytest.raises(UserError, match="is a pipe, socket or device"):
            load(path)


def called(name: bytes) -> bytes:
    return b"c" + name.replace(b" ", b"\n") + b"\n"


def repeated(function: bytes, argument: bytes, times: int) -> bytes:
    """A pickle that calls a function on one argument again and again."""
    return b"\x80\x04" + function + b"\x940" + argument + b"\x85\x940](" + b"h\x00h\x01R" * times + b"e."


TEXT = b"X" + struct.pack("<I", 1000) + b"a" * 1000
KEY = b"K\x01\x85" + b"2\x86" * 7


@pytest.mark.parametrize(
    ("function", "argument"),
    [(called(b"_codecs encode"), TEXT), (called(b"torch Size"), b"](" + b"K\x01" * 100 + b"e")],
    ids=["encode", "Size"],
)
def test_calls_that_copy_are_counted(
    function: bytes, argument: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(repeated(function, argument, 100))
    assert len(reading.read(path).tree) == 100
    monkeypatch.setattr(unpickler, "COPIED", 10_000)
    with pytest.raises(UserError, match="many times the file's size"):
        reading.read(path)


@pytest.mark.parametrize("way", [b"}%sNs", b"}(%sNu", b"(%sNd", b"\x8f(%s\x90", b"(%s\x91"], ids=repr)
def test_keys_that_take_long_to_hash_are_refused(way: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04" + way % KEY + b".")
    reading.read(path)
    monkeypatch.setattr(safe_globals, "LARGEST_KEY", 100)
    with pytest.raises(UserError, match="a key of more than 100 parts"):
        reading.read(path)


def test_an_integer_that_python_cannot_write_out_is_refused(tmp_path: Path) -> None:
    assert inspect(saved(tmp_path / "a.pth", {"state_dict": weights(), "x": 1 << 8000})).others["x"]
    with pytest.raises(UserError, match="an integer of more than 8192 bits"):
        inspect(saved(tmp_path / "a.pth", {"state_dict": weights(), "x": 1 << 9000}))


def test_one_array_under_many_names_is_one_tensor(tmp_path: Path) -> None:
    array = weights()["conv1.weight"].numpy()
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": array, "b": [array, array]}))
    tree = reading.read(tmp_path / "a.pkl").tree
    assert tree["a"] is tree["b"][0] is tree["b"][1]


def test_a_network_whose_tensors_repeat_each_other_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.ones(1)
    tree = {name: one.expand(each.shape) if each.ndim else each for name, each in weights().items()}
    path = saved(tmp_path / "a.pth", tree)
    load(path)
    monkeypatch.setattr(values, "REPEATED", 1000)
    with pytest.raises(UserError, match="they repeat each other"):
        load(path)
    load(saved(tmp_path / "b.pth", weights()))


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = weights()
    for _ in range(depth):
        tree = {"a": tree}
    return tree


TREES: dict[str, tuple[Callable[[], Any], str]] = {
    "deep": (lambda: nested(states.DEEPEST + 2), "mappings are nested more than 32 deep"),
    "long": (lambda: {**weights(), "a" * 1025: torch.ones(1)}, "a name of 1,025 characters"),
    "blocks": (
        lambda: {f"blocks.{i}.{name}": torch.ones(8) for i in range(300) for name in ("norm1.weight", "mlp.fc1.bias")},
        "no network of a known architecture",
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_trees_that_no_network_has_are_refused(name: str, tmp_path: Path) -> None:
    build, told = TREES[name]
    with pytest.raises(UserError, match=told) as refusal:
        load(saved(tmp_path / "a.pth", build()))
    assert "a.pth" in str(refusal.value)


def test_networks_without_number_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.pth", {f"n{i}.{name}": each for i in range(4) for name, each in weights().items()})
    with pytest.raises(UserError, match="holds 4 networks"):
        load(path)
    monkeypatch.setattr(networks, "MOST_NETWORKS", 2)
    with pytest.raises(UserError, match="more than 2 networks in one state dict"):
        load(path)


def seconds(count: int) -> float:
    one = torch.ones(1)
    names = [f"x{i}.conv1.weight" for i in range(count)]
    state = states.state_dicts(dict.fromkeys(names, one))
    begun = time.process_time()
    networks.found(state)
    return time.process_time() - begun


def test_names_take_time_as_they_take_room() -> None:
    seconds(100)
    few, many = min(seconds(500) for _ in range(3)), seconds(4000)
    assert many < 24 * few, "eight times as many names"


def test_names_below_a_prefix_keep_their_order() -> None:
    (state,) = states.state_dicts({name: torch.ones(1) for name in ("a.b", "b", "a.a", "a", "a.\U0010ffff", "ab")})
    assert state.below("a.") == ["a.b", "a.a", "a.\U0010ffff"]
    assert state.below("") == list(state.tensors)


def test_words_that_nothing_matches_are_not_tried_for_long(tmp_path: Path) -> None:
    begun = time.process_time()
    with pytest.raises(UserError, match=r"unrecognized|do not fit"):
        load(saved(tmp_path / "a.pth", {**weights(), "fpn_" * 30 + "-": torch.ones(1)}))
    assert time.process_time() - begun < 5


def with_card(path: Path, header: Any) -> Path:
    safetensors.torch.save_file(
        weights(), path, {"transferbench": header if isinstance(header, str) else json.dumps(header)}
    )
    return path


def a_card(family: str = "resnet", images: Any = IMAGES, version: int = 1, **arguments: Any) -> dict[str, Any]:
    architecture = {"family": family, "arguments": arguments or SMALL.arguments}
    card = {"schema_version": version, "architecture": architecture, "preprocess": images}
    return {"card": card, "digest": digest(weights())}


CARDS = {
    "schema 2 of cards is not known here": a_card(version=2),
    "width": a_card(depth=10, width=1e9),
    "depth": a_card("vit", depth=1000),
    "dim=384 should be divisible": a_card("vit", heads=7),
    "There is no swin of these arguments": a_card("swin", heads=[]),
    "crop": a_card(images={"size": 32, "crop": 10_000}),
    "size": a_card(images={"size": 0, "crop": 1}),
    "was damaged": {"card": a_card()["card"]},
    "is damaged": "[1]",
    "is of the backbone family": a_card("../x.py"),
}


@pytest.mark.parametrize("told", CARDS)
def test_what_a_card_states_is_held_against_limits(told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told) as refusal:
        load(with_card(tmp_path / "a.safetensors", CARDS[told]))
    assert "a.safetensors" in str(refusal.value)


def test_what_a_network_computes_beside_its_weights_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "MOST_BESIDE", 100)
    with pytest.raises(UserError, match=r"would take [\d,]+ values beside its weights"):
        load(with_card(tmp_path / "a.safetensors", a_card("swin", image_size=448)))


def test_a_card_that_is_right_loads(tmp_path: Path) -> None:
    assert load(with_card(tmp_path / "a.safetensors", a_card())).digest == digest(weights())


@pytest.mark.parametrize("index", ['{"weight_map": [1]}', "[]", '{"weight_map": {"a": "../b"}}', "{"])
def test_an_index_that_is_none_is_told(index: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(index)
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json"):
        load(path)
