"""What is no checkpoint of a network, or only part of one: what was found, and what to do about it."""

import io
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load
from transferbench.errors import UserError

SMALL = Architecture(family="resnet", arguments={"depth": 10, "width": 0.125})


def network() -> nn.Module:
    return backbones.build(SMALL, seed=1)


def written(path: Path, tree: Any, **more: Any) -> Path:
    torch.save(tree, path, **more)
    return path


def scripted(path: Path, change: Callable[[Any], Any] = lambda module: module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(change(torch.jit.trace(network().eval(), torch.zeros(1, 3, 32, 32))), path)
    return path


def frozen(path: Path) -> Path:
    return scripted(path, torch.jit.freeze)


def linear_head(path: Path) -> Path:
    head = nn.Linear(1536, 1000)
    optimizer = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)
    head(torch.ones(1, 1536)).sum().backward()
    optimizer.step()
    state = {f"module.linear.{name}": tensor for name, tensor in head.state_dict().items()}
    return written(path, {"epoch": 3, "state_dict": state, "optimizer": optimizer.state_dict(), "best_acc": 71.0})


def not_a_number(path: Path) -> Path:
    state = network().state_dict()
    return written(path, {name: tensor * float("nan") for name, tensor in state.items() if tensor.is_floating_point()})


def rezipped(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A good checkpoint with its members changed or compressed."""
    good = io.BytesIO()
    torch.save(network().state_dict(), good)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            new.writestr(name, content, compression if len(content) > 10**7 else zipfile.ZIP_STORED)
    return path


def bomb(path: Path) -> Path:
    """A file of 100 kB that would expand to 100 MB."""
    return rezipped(path, lambda name, content: bytes(10**8) if name.endswith("data/0") else content, 8)


def lying(path: Path, size: int) -> Path:
    """The directory of a good zip, claiming another size for the largest member."""
    content = bytearray(rezipped(path, lambda name, content: content).read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    entry = content.rindex(largest.filename.encode()) - 46
    assert struct.unpack_from("<II", content, entry + 20) == (largest.file_size, largest.file_size)
    struct.pack_into("<II", content, entry + 20, size, size)
    path.write_bytes(content)
    return path


def cut(path: Path, legacy: bool) -> Path:
    content = written(path, network().state_dict(), _use_new_zipfile_serialization=not legacy).read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])
    return path


def cut_safetensors(path: Path) -> Path:
    path.write_bytes(safetensors.torch.save(network().state_dict())[:-1000])
    return path


def text(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 102502400\n"
FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "an empty file": (lambda path: text(path, b""), r"is empty \(0 bytes\)\. Download or copy it again"),
    "text": (lambda path: text(path, b"lr: 1, " * 99), r"is a text file \(it begins 'lr: 1.*expected a checkpoint"),
    "a web page": (lambda path: text(path, b"<html><title>Sign in"), "is a web page.*log in, then download it again"),
    "a git-lfs pointer": (lambda path: text(path, LFS), "is a git-lfs pointer .run `git lfs pull`"),
    "a folder": (lambda path: path.mkdir() or path, r"is a folder; expected a checkpoint file\. Name the file in it"),
    "nothing": (lambda path: path, "No checkpoint file at"),
    "below a file": (lambda path: text(path, b"x") / "y.pth", r"cannot be read \(Not a directory\)"),
    "a cut zip": (lambda path: cut(path, legacy=False), r"\(torch zip\) but is truncated .* Download or copy it again"),
    "a cut legacy file": (lambda path: cut(path, legacy=True), r"\(torch legacy\) but is truncated .* copy it again"),
    "cut safetensors": (cut_safetensors, r"\(safetensors\) but is truncated .* copy it again"),
    "a zip bomb": (bomb, r"data/0' is compressed.*expand without limit\. Save the checkpoint again"),
    "too large a member": (lambda path: lying(path, 1 << 30), r"\(torch zip\) but is truncated or damaged \(EOFError"),
    "too small a member": (lambda path: lying(path, 4), r"\(torch zip\) but is truncated or damaged \(EOFError"),
    "frozen TorchScript": (frozen, r"is a TorchScript archive whose modules hold no tensors.*Save the weights of the"),
    "a module": (
        lambda path: written(path, network()),
        r"holds no state dict but a transferbench\.backbones\.\w+\.\w+, which is never executed\. Save the weights",
    ),
    "a module in a dictionary": (
        lambda path: written(path, {"epoch": 3, "model": network()}),
        r"holds no state dict but a transferbench\.backbones\.\w+\.\w+ \('model'\), which is never executed\. Save the",
    ),
    "a legacy module": (
        lambda path: written(path, network(), _use_new_zipfile_serialization=False),
        r"holds no state dict but a transferbench\.backbones\.\w+\.\w+, which is never executed",
    ),
    "a number": (lambda path: written(path, {"epoch": 3}), r"holds no state dict but a dict of: epoch\."),
    "a linear head": (linear_head, r"among 2 tensors: .*module\.linear\.weight.*a head without its backbone"),
    "no numbers": (not_a_number, r"does not hold usable weights: conv1\.weight has NaN .* and \d+ more"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_network_is_told_so(name: str, tmp_path: Path) -> None:
    build, told = FILES[name]
    path = build(tmp_path / "file.pth")
    for judge in (load, inspect):
        with pytest.raises(UserError, match=told) as refusal:
            judge(path)
        assert str(path) in str(refusal.value)


def test_what_may_not_be_read_is_told_so(tmp_path: Path) -> None:
    path = text(tmp_path / "file.pth", b"secret")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)\. Check the permissions"):
            load(path)
    finally:
        os.seteuid(user)


def test_the_same_changes_without_harm_load(tmp_path: Path) -> None:
    path = rezipped(tmp_path / "file.pth", lambda name, content: content)
    assert load(path).report.matched == len(network().state_dict())


def test_torchscript_is_read_and_its_code_is_not_run(tmp_path: Path) -> None:
    path = scripted(tmp_path / "a.pt")
    candidate = load(path)
    assert candidate.report.matched >= len(network().state_dict()) - 20
    expected = network().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in candidate.backbone.state_dict().items())
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"this is no code" if "/code/" in name else old.read(name))
    assert load(tmp_path / "b.pt").digest == candidate.digest
