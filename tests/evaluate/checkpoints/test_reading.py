"""Any container is read by its content, nothing in it is executed, and what is no checkpoint is told so."""

import argparse
import collections
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from transferbench.checkpoints import reading, safe_globals
from transferbench.checkpoints.load import sha256
from transferbench.errors import UserError


def tensors() -> dict[str, Tensor]:
    weight = torch.arange(15, dtype=torch.float32).reshape(5, 3)
    return {
        "weight": weight,
        "transposed": weight.t(),
        "tail": weight[2:],
        "half": weight.half(),
        "bf16": weight.bfloat16(),
        "step": torch.tensor(3),
        "mask": weight > 4,
        "double": weight.double(),
        "empty": torch.empty(0),
        "parameter": torch.nn.Parameter(weight + 1),
    }


def write(container: str, folder: Path, tree: Any) -> Path:
    path = folder / "file.bin"
    if container == "pickle":
        path.write_bytes(pickle.dumps(tree, protocol=4))
    else:
        torch.save(tree, path, _use_new_zipfile_serialization=container == "torch zip")
    return path


@pytest.mark.parametrize("container", ["torch zip", "torch legacy"])
@pytest.mark.parametrize("odd", ["", "x", "xx", "xxx"])
def test_tensors_of_every_kind_come_back_equal(container: str, odd: str, tmp_path: Path) -> None:
    wanted = tensors()
    path = write(container, tmp_path, {"state": collections.OrderedDict(wanted), odd: 1})
    contents = reading.read(path)
    assert contents.container == container
    for name, tensor in wanted.items():
        found = contents.tree["state"][name]
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor), name
    assert contents.tree["state"]["weight"].data_ptr() == contents.tree["state"]["transposed"].data_ptr()


def test_safetensors_come_back_with_their_header(tmp_path: Path) -> None:
    wanted = {name: tensor.detach().clone().contiguous() for name, tensor in tensors().items()}
    safetensors.torch.save_file(wanted, tmp_path / "file.pth", {"who": "me"})
    contents = reading.read(tmp_path / "file.pth")
    assert contents.container == "safetensors"
    assert contents.header == {"who": "me"}
    assert all(torch.equal(contents.tree[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_bare_pickle_of_numpy_comes_back_as_tensors(protocol: int, tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    objects = np.array([None, {}], dtype=object)
    tree = {"model": {"c": array, "f": np.asfortranarray(array), "big": array.astype(">f4")}, "odd": objects}
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(tree, protocol=protocol))
    found = reading.read(tmp_path / "file.pkl").tree
    assert all(torch.equal(found["model"][name], torch.from_numpy(array)) for name in ("c", "f", "big"))
    assert not isinstance(found["odd"], Tensor)


def test_numpy_1_and_2_names_mean_the_same() -> None:
    for name in ("scalar", "_reconstruct"):
        old, new = (safe_globals.meaning(f"numpy.{core}.multiarray", name) for core in ("core", "_core"))
        assert isinstance(old, safe_globals.Allowed)
        assert isinstance(new, safe_globals.Allowed)


def test_harmless_objects_become_plain_values_and_others_inert(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "args": argparse.Namespace(lr=np.float64(0.1), name="run"),
        "count": collections.Counter(a=2),
        "sizes": collections.defaultdict(list, {1: [2]}),
        "shape": torch.Size([2, 3]),
        "kind": torch.bfloat16,
        "encoder": Path("somewhere"),
        "function": write,
    }
    tree["self"] = tree
    contents = reading.read(write("torch zip", tmp_path, tree))
    found = contents.tree
    assert found["args"] == {"lr": 0.1, "name": "run"}
    assert found["count"] == {"a": 2}
    assert found["sizes"] == {1: [2]}
    assert found["shape"] == (2, 3)
    assert found["kind"] is torch.bfloat16
    assert found["self"] is found
    assert isinstance(found["encoder"], safe_globals.Inert)
    assert any("Path" in name for name in contents.inert)
    assert any(name.endswith("write") for name in contents.inert)


def test_a_pickle_cannot_change_what_the_reader_allows() -> None:
    stream = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}(X\x09\x00\x00\x00_functionK\x01u\x86b."
    before = dict(safe_globals.FUNCTIONS)
    with pytest.raises(UserError):
        _read_bytes(stream)
    assert before == safe_globals.FUNCTIONS
    assert safe_globals.meaning("torch._utils", "_rebuild_tensor_v2")(torch.ones(4), 1, (2,), (1,)).tolist() == [1, 1]


def _read_bytes(content: bytes) -> reading.Contents:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return reading.read(Path(file.name))


@pytest.mark.parametrize("container", ["torch zip", "torch legacy", "pickle"])
def test_a_file_cut_anywhere_is_refused(container: str, tmp_path: Path) -> None:
    weights: Any = np.ones(300, np.float32) if container == "pickle" else torch.ones(300)
    whole = write(container, tmp_path, {"state_dict": {"a": weights, "b": weights + 1}}).read_bytes()
    for length in (10, 64, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path = tmp_path / "cut.pth"
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"truncated or damaged|of no known kind"):
            reading.read(path)


def test_safetensors_cut_anywhere_are_refused(tmp_path: Path) -> None:
    whole = safetensors.torch.save({"a": torch.ones(300)})
    for length in (12, 60, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(UserError, match="truncated or damaged"):
            reading.read(tmp_path / "cut")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"epoch,loss\n1,2\n", "a text file .it begins 'epoch,loss"),
        ("Gefällt mir, 好 ".encode() * 60, "a text file .it begins 'Gefällt"),
        (b"\n<!DOCTYPE html><html>", "a web page.*log in"),
        ('\ufeff<?xml version="1.0"?>\n<Error>'.encode(), "a web page.*log in"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (bytes(range(128, 255)), "no known kind"),
    ],
)
def test_what_is_no_checkpoint_is_named(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match=told):
        reading.read(tmp_path / "weights.pth")


def test_folders_and_absent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        reading.read(tmp_path)
    with pytest.raises(UserError, match="No checkpoint file"):
        reading.read(tmp_path / "absent.pth")


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", pickle.dumps({}))
        archive.writestr("script/code/__torch__.py", "import os")
    with pytest.raises(UserError, match="TorchScript"):
        reading.read(tmp_path / "script.pt")


def test_compressed_members_and_plain_zips_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10_000_000))
    with pytest.raises(UserError, match="compressed"):
        reading.read(tmp_path / "bomb.pth")
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("weights.pth", b"123")
    with pytest.raises(UserError, match="Unpack it"):
        reading.read(tmp_path / "plain.zip")


def test_a_storage_that_claims_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    good, bad = io.BytesIO(), tmp_path / "bad.pth"
    torch.save({"a": torch.ones(4)}, good)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:8] if name.endswith("data/0") else content)
    with pytest.raises(UserError, match="damaged"):
        reading.read(bad)


def test_a_few_bytes_cannot_stand_for_terabytes(tmp_path: Path) -> None:
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save({"a": torch.ones(1).expand(1 << 40)}, path, _use_new_zipfile_serialization=zipped)
        assert path.stat().st_size < 10_000
        with pytest.raises(UserError, match="a tensor of 1099511627776 values in a storage of 1"):
            reading.read(path)


def test_shards_are_read_as_one_file_and_only_from_their_own_folder(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    for number in (1, 2):
        safetensors.torch.save_file(
            {f"t{number}": torch.full((3,), float(number))}, tmp_path / f"s{number}.safetensors"
        )
    index.write_text(json.dumps({"weight_map": {"t1": "s1.safetensors", "t2": "s2.safetensors"}}))
    contents = reading.read(index)
    assert contents.container == "sharded safetensors"
    assert {name: tensor.tolist() for name, tensor in contents.tree.items()} == {"t1": [1.0] * 3, "t2": [2.0] * 3}
    before = sha256(index)
    safetensors.torch.save_file({"t2": torch.zeros(3)}, tmp_path / "s2.safetensors")
    assert sha256(index) != before
    safetensors.torch.save_file({"t1": torch.zeros(3), "t2": torch.zeros(3)}, tmp_path / "s2.safetensors")
    with pytest.raises(UserError, match="holds 't1' twice"):
        reading.read(index)
    for names, told in (
        ({"t1": "../s1.safetensors"}, "in the same folder"),
        ({"t1": "s3.safetensors"}, "in the same folder"),
        ({"t1": "s1.safetensors", "t9": "s1.safetensors"}, "differ in 1 tensors: t9"),
    ):
        index.write_text(json.dumps({"weight_map": names}))
        with pytest.raises(UserError, match=told):
            reading.read(index)
