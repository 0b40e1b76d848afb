"""Files that attack the reader, or are no checkpoint: one clear error each, and nothing in them is executed."""

import argparse
import collections
import functools
import os
import pickle
import resource
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transferbench import backbones
from transferbench.backbones import Architecture
from transferbench.checkpoints import digest, reading
from transferbench.checkpoints.containers import LEGACY_MAGIC
from transferbench.checkpoints.load import load
from transferbench.errors import UserError

CONTAINERS = ["torch zip", "torch legacy", "pickle"]
SMALL = Architecture(family="resnet", arguments={"depth": 10, "width": 0.125})


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class State:
    """Pickles as an object of a harmless class, with a state."""

    def __init__(self, kind: type, state: Any) -> None:
        self.made = kind, (), state

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made


def writes(path: str) -> None:
    """What a module of the attacker's would do."""
    Path(path).touch()


NAMED: dict[str, Callable[[str], Any]] = {
    "system": lambda mark: Call(os.system, f"touch '{mark}'"),
    "exec": lambda mark: Call(exec, f"open({mark!r}, 'w')"),
    "eval": lambda mark: Call(eval, f"open({mark!r}, 'w')"),
    "open": lambda mark: Call(open, mark, "w"),
    "subprocess": lambda mark: Call(subprocess.getoutput, f"touch '{mark}'"),
    "another pickle": lambda mark: Call(pickle.loads, pickle.dumps(Call(open, mark, "w"))),
    "in a state": lambda mark: argparse.Namespace(lr=1, hook=[{"a": (Call(open, mark, "w"),)}]),
    "as a state": lambda mark: State(argparse.Namespace, Call(eval, f"open({mark!r}, 'w') and {{}}")),
    "as a key": lambda mark: {Call(eval, f"open({mark!r}, 'w').name"): 1},
    "partial": lambda mark: Call(functools.partial(open, mark, "w")),
    "factory": lambda mark: collections.defaultdict(functools.partial(open, mark, "w"), {1: Call(open, mark, "w")}),
}
UNNAMED: dict[str, Callable[[str], Any]] = {
    "a function of the attacker's": lambda mark: Call(writes, mark),
    "a method": lambda mark: Call(Path.touch, Path(mark)),
    "numpy": lambda mark: Call(np.save, mark, 1),
    "getattr": lambda mark: Call(Path(mark).touch),
}
"""Attacks by names that honest files may hold too: they are stood in for, and what else is in the file is readable."""


def write(container: str, path: Path, tree: Any) -> Path:
    if container == "pickle":
        path.write_bytes(pickle.dumps(tree, protocol=4))
    else:
        torch.save(tree, path, _use_new_zipfile_serialization=container == "torch zip")
    return path


def network(container: str) -> dict[str, Any]:
    weights = backbones.build(SMALL, seed=1).state_dict()
    return {name: tensor.numpy() if container == "pickle" else tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("attack", NAMED)
def test_an_attack_is_refused_by_its_name_and_not_executed(container: str, attack: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    build = NAMED[attack]
    for tree in ({"state_dict": network(container), "x": build(str(mark))}, build(str(mark))):
        path = write(container, tmp_path / "file.pth", tree)
        with pytest.raises(UserError, match=r"is malicious: its pickle names [\w.]+, .*Nothing in it was executed"):
            load(path)
        assert not mark.exists()
    if attack != "partial":
        pickle.loads(pickle.dumps(build(str(mark))))
        assert mark.exists(), "the attack itself is no attack"


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("attack", UNNAMED)
def test_an_attack_by_any_other_name_is_not_executed(container: str, attack: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed.npy"
    path = write(container, tmp_path / "file.pth", {"model": network(container), "x": UNNAMED[attack](str(mark))})
    found = load(path)
    assert found.digest == digest(backbones.build(SMALL, seed=1).state_dict())
    assert reading.read(path).inert
    with pytest.raises(UserError, match=r"holds no state dict.*never executed"):
        load(write(container, tmp_path / "alone.pth", UNNAMED[attack](str(mark))))
    assert not mark.exists()


@pytest.mark.parametrize("place", range(5))
def test_an_attack_in_any_pickle_of_a_legacy_file_is_refused(place: int, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    parts = [LEGACY_MAGIC, *(pickle.dumps(part, 2) for part in (1001, {"little_endian": True}, {"epoch": 1}, []))]
    (tmp_path / "good.pth").write_bytes(b"".join(parts))
    assert reading.read(tmp_path / "good.pth").tree == {"epoch": 1}
    parts[place] = parts[place][: -1 if place == 0 else 0] + pickle.dumps(Call(open, str(mark), "w"), 2)[2:]
    parts[place] = parts[place] if place == 0 else b"\x80\x02" + parts[place]
    (tmp_path / "file.pth").write_bytes(b"".join(parts))
    with pytest.raises(UserError, match=r"is malicious: its pickle names"):
        reading.read(tmp_path / "file.pth")
    assert not mark.exists()


def test_ten_bytes_cannot_take_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in (1 << 26, 0xFFFFFFFF):
        path.write_bytes(b"\x80\x02Nr" + struct.pack("<I", index) + b".")
        assert reading.read(path).tree is None
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
