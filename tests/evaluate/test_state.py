"""Files that are whole or absent, and training state that comes back as it was."""

import errno
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transferbench import state
from transferbench.errors import UserError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
"""What `st.text()` draws too, once it has encoded every character there is."""
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(), inner, max_size=3)
)


@settings(max_examples=50, deadline=None)
@given(tree=st.dictionaries(TEXTS, TREES, max_size=4))
def test_plain_values_come_back_as_they_were(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    state.save(path, tree)
    assert state.load(path) == tree


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(7),
        torch.zeros(0, 3),
        torch.arange(6.0, dtype=torch.float64).view(2, 3).T,
        torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        torch.get_rng_state(),
        torch.tensor([True, False]),
    ],
    ids=["scalar", "empty", "transposed", "bfloat16", "generator", "bool"],
)
def test_tensors_come_back_with_shape_and_type(tensor: torch.Tensor, tmp_path: Path):
    state.save(tmp_path / "s", {"deep": [{"tensor": tensor}], "again": tensor})
    back = state.load(tmp_path / "s")
    for found in (back["deep"][0]["tensor"], back["again"]):
        assert found.dtype == tensor.dtype
        assert torch.equal(found, tensor)


def trained(steps: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A small module after some steps of AdamW with two parameter groups."""
    module = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(module.weight, 0.1)
    torch.nn.init.zeros_(module.bias)
    groups = [{"params": [module.weight]}, {"params": [module.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    for _ in range(steps):
        advance(module, optimizer)
    return module, optimizer


def advance(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    module(torch.arange(6.0).view(2, 3)).square().sum().backward()
    optimizer.step()


def test_an_optimizer_goes_on_bit_identically_from_its_file(tmp_path: Path):
    module, optimizer = trained(3)
    state.save(tmp_path / "s", {"module": module.state_dict(), "optimizer": optimizer.state_dict()})
    other, resumed = trained(0)
    back = state.load(tmp_path / "s")
    other.load_state_dict(back["module"])
    resumed.load_state_dict(back["optimizer"])
    advance(module, optimizer)
    advance(other, resumed)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_a_truncated_state_is_named_and_refused(kept: int, tmp_path: Path):
    path = tmp_path / "state.safetensors"
    state.save(path, {"weights": torch.arange(100.0), "step": 3})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"state\.safetensors is not a complete training state"):
        state.load(path)


@pytest.mark.parametrize("byte", [-1, -400, 100])
def test_a_state_with_a_changed_byte_is_refused(byte: int, tmp_path: Path):
    """In the last tensor, in the first, and in the plain values."""
    path = tmp_path / "state.safetensors"
    state.save(path, {"note": "x" * 200, "a": torch.ones(50), "b": torch.ones(50)})
    content = bytearray(path.read_bytes())
    content[content.index(b"x" * 200) if byte == 100 else byte] ^= 1
    path.write_bytes(content)
    with pytest.raises(state.BrokenStateError, match="checksum does not match"):
        state.load(path)


def test_a_snapshot_is_not_changed_by_what_happens_next(tmp_path: Path):
    weight = torch.arange(6.0).view(2, 3).T
    snapshot = state.Snapshot({"weight": weight, "list": [weight[0]]})
    weight.zero_()
    snapshot.write(tmp_path / "s")
    assert state.load(tmp_path / "s")["weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert state.load(tmp_path / "s")["list"][0].tolist() == [0, 3]
    assert snapshot.size == 4 * 8


def test_what_the_system_refuses_is_an_error_of_the_system_and_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "s"
    state.save(path, {"a": torch.ones(3)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            state.save(path, {"a": torch.zeros(30_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert state.load(path)["a"].tolist() == [1, 1, 1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    state.require_writable(tmp_path / "new" / "run")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file is not a folder.*another --out"):
        state.require_writable(tmp_path / "file" / "run")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(UserError, match="cannot be written to"):
        state.require_writable(tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_safetensors_file_of_another_kind_is_refused(tmp_path: Path):
    state.save_tensors(tmp_path / "other", {"a": torch.zeros(1)}, ("header", "x"))
    with pytest.raises(UserError, match="is not a complete training state"):
        state.load(tmp_path / "other")


def test_what_is_neither_tensor_nor_plain_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(TypeError, match="found set"):
        state.save(tmp_path / "s", {"bad": {1, 2}})
    assert list(tmp_path.iterdir()) == []


def test_writing_makes_folders_and_leaves_only_the_file(tmp_path: Path):
    path = tmp_path / "a" / "b" / "text"
    state.write(path, "old")
    state.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "text"
    state.write(path, "old")

    def stop(handle: int) -> None:
        raise failure

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(type(failure)):
        state.write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_is_not_finite_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        state.write_json(tmp_path / "x.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


NO_FILES = {
    "a folder": Path.mkdir,
    "a pipe": _pipe,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/null"),
    "a link to an open file": lambda path: path.symlink_to("/proc/self/exe"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_not_replaced(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = Path("a")
    NO_FILES[what](path)
    before = path.lstat()
    with pytest.raises(UserError, match=f"Cannot write a: {what} lies there"):
        state.write(path, "text")
    with pytest.raises(UserError, match="Cannot write a"):
        state.save(path, {"step": 1})
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_link_to_a_file_and_one_to_nowhere_are_replaced(tmp_path: Path):
    (tmp_path / "file").write_text("theirs")
    for target in ("file", "nowhere"):
        link = tmp_path / f"link-{target}"
        link.symlink_to(target)
        state.write(link, "ours")
        assert (link.read_text(), link.is_symlink()) == ("ours", False)
    assert (tmp_path / "file").read_text() == "theirs"
