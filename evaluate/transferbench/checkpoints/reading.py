"""The only unpickler: any checkpoint file as plain data and memory-mapped tensors, without executing anything in it."""

import io
import json
import mmap
import operator
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from transferbench.checkpoints import containers
from transferbench.checkpoints.archives import Archive, flat, mapped
from transferbench.checkpoints.safe_globals import Allowed, Inert, NumpyArray, is_attack, meaning
from transferbench.errors import UserError

Storage = Callable[[torch.dtype, str, int], Tensor]


@dataclass(frozen=True)
class Contents:
    """A file once read. Tensors are views of the file, on the CPU; `inert` names what was not executed."""

    path: Path
    container: str
    tree: Any
    header: Mapping[str, str] = field(default_factory=dict)
    inert: tuple[str, ...] = ()


def read(path: Path) -> Contents:
    """Everything a checkpoint file holds. The container is recognized by its content, never by its extension.

    Raises:
        UserError: when there is no such file, it is no checkpoint, or it is truncated, damaged or malicious.
    """
    container = containers.kind(path)
    reader = {
        "safetensors": _read_safetensors,
        "sharded safetensors": _read_shards,
        "torch zip": _read_zip,
        "torch legacy": _read_legacy,
        "pickle": _read_pickle,
    }[container]
    try:
        return reader(path)
    except UserError:
        raise
    except _AttackError as error:
        raise UserError(
            f"{path} is malicious: its pickle names {error}, which no checkpoint needs. Nothing in it was executed. "
            "Do not open it with anything else, and tell whoever distributes it."
        ) from None
    except Exception as error:  # cut or hostile bytes can raise anything, and no more is known than that they did
        raise UserError(
            f"{path} looks like a checkpoint ({container}) but is truncated or damaged "
            f"({type(error).__name__}: {error}). {containers.AGAIN}"
        ) from None


class _AttackError(Exception):
    """A pickle names what only an attack needs."""


class _Unpickler(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]
    """Resolves every global through `inert.meaning`, so nothing outside that module is ever called.

    The one in Python: in C, ten bytes that name a far memo slot take 64 GB.
    """

    def __init__(self, file: Any, storage: Storage | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage
        self.inert: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        if is_attack(module, name):
            raise _AttackError(f"{module}.{name}")
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return Allowed(_stored)
        meant = meaning(module, name)
        if isinstance(meant, type) and issubclass(meant, Inert):
            self.inert.add(meant.origin)
        return meant

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":
            return pid[1]
        if pid[0] != "storage" or self._storage is None or not isinstance(pid[1], torch.dtype):
            raise pickle.UnpicklingError(f"unknown reference {pid[0]!r}")
        whole = self._storage(pid[1], str(pid[2]), operator.index(pid[4]))
        view = pid[5] if len(pid) > 5 else None
        return whole if view is None else whole[view[1] : view[1] + view[2]]


def _read_safetensors(path: Path) -> Contents:
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Contents(path, "safetensors", tensors, file.metadata() or {})


def _read_shards(path: Path) -> Contents:
    parts = [_read_safetensors(shard).tree for shard in containers.shards(path)]
    tensors = {name: tensor for part in parts for name, tensor in part.items()}
    absent = json.loads(path.read_text())["weight_map"].keys() ^ tensors.keys()
    if absent:
        raise UserError(f"{path} and its shards differ in {len(absent)} tensors: {', '.join(sorted(absent)[:8])}.")
    return Contents(path, "sharded safetensors", tensors)


def _read_zip(path: Path) -> Contents:
    archive = Archive(path)
    if archive.root + "byteorder" in archive.members and archive.content("byteorder") != b"little":
        raise UserError(f"{path} was written on a big-endian machine. Save it again on a little-endian one.")
    unpickler = _Unpickler(io.BytesIO(archive.content("data.pkl")), archive.storage)
    return _settled(path, "torch zip", unpickler.load(), unpickler)


def _read_legacy(path: Path) -> Contents:
    tree, unpickler = _legacy(mapped(path))
    return _settled(path, "torch legacy", tree, unpickler)


def _stored(content: bytes) -> Any:
    """A storage as it lies in a bare pickle of tensors: a legacy file of its own."""
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return _legacy(memory)[0]


def _legacy(memory: mmap.mmap) -> tuple[Any, _Unpickler]:
    """torch before 1.6: three pickles of formalities, the tree, the storages' keys, then the storages one by one."""
    for _ in range(3):
        _Unpickler(memory).load()
    tree_at = memory.tell()
    sizes: dict[str, tuple[torch.dtype, int]] = {}

    def shape_only(dtype: torch.dtype, key: str, count: int) -> Tensor:
        sizes[key] = dtype, count
        return torch.empty(count, dtype=dtype, device="meta")

    _Unpickler(memory, shape_only).load()
    position_of: dict[str, int] = {}
    keys = _Unpickler(memory).load()
    position = memory.tell()
    for key in keys:
        dtype, count = sizes[key]
        if int.from_bytes(memory[position : position + 8], "little") != count:
            raise EOFError(f"storage {key}")
        position_of[key] = position + 8
        position += 8 + count * dtype.itemsize
    memory.seek(tree_at)
    unpickler = _Unpickler(memory, lambda dtype, key, count: flat(memory, dtype, position_of[key], count))
    return unpickler.load(), unpickler


def _read_pickle(path: Path) -> Contents:
    unpickler = _Unpickler(mapped(path))
    return _settled(path, "pickle", unpickler.load(), unpickler)


def _settled(path: Path, container: str, tree: Any, unpickler: _Unpickler) -> Contents:
    """The tree with numpy arrays made tensors, in place; it may be cyclic."""
    top = [tree]
    waiting: list[Any] = [top]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            if isinstance(value, NumpyArray):
                node[key] = value.tensor()
            elif isinstance(value, dict | list):
                waiting.append(value)
    return Contents(path, container, top[0], {}, tuple(sorted(unpickler.inert)))
