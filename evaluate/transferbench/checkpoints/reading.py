"""The only unpickler: any checkpoint file as plain data and memory-mapped tensors, without executing anything in it."""

import io
import json
import mmap
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from transferbench.checkpoints import containers
from transferbench.checkpoints.inert import Inert, NumpyArray, meaning
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
    """Everything a checkpoint file holds. The container is recognised by its content, never by its extension.

    Raises:
        UserError: when there is no such file, it is no checkpoint, or it is truncated or damaged.
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
    except Exception as error:  # cut or hostile bytes can raise anything, and no more is known than that they did
        raise UserError(
            f"{path} looks like a checkpoint ({container}) but is truncated or damaged "
            f"({type(error).__name__}: {error}). {containers.AGAIN}"
        ) from None


class _Unpickler(pickle.Unpickler):
    """Resolves every global through `inert.meaning`, so nothing outside that module is ever called."""

    def __init__(self, file: Any, storage: Storage | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage
        self.inert: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        found = meaning(module, name)
        if isinstance(found, type) and issubclass(found, Inert):
            self.inert.add(found.origin)
        return found

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":
            return pid[1]
        if pid[0] != "storage" or self._storage is None or not isinstance(pid[1], torch.dtype):
            raise pickle.UnpicklingError(f"unknown reference {pid[0]!r}")
        whole = self._storage(pid[1], str(pid[2]), int(pid[4]))
        view = pid[5] if len(pid) > 5 else None
        return whole if view is None else whole[view[1] : view[1] + view[2]]


def _mapped(path: Path) -> mmap.mmap:
    """The file as private memory: pages are read when touched, writes never reach the disk."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _flat(memory: mmap.mmap, dtype: torch.dtype, start: int, count: int) -> Tensor:
    """`count` values that begin at byte `start`, as a view of the file."""
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=start) if count else torch.empty(0, dtype=dtype)


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


class _Archive:
    """torch's zip file: a pickle `data.pkl` and one uncompressed member a storage, which are mapped where they lie."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            self.members = {member.filename: member for member in archive.infolist()}
        if any(name.endswith("/constants.pkl") or "/code/" in name for name in self.members):
            raise UserError(
                f"{path} is a TorchScript archive: reading it would run the code in it. "
                "Save the weights alone: torch.save(torch.jit.load(FILE).state_dict(), OUT)."
            )
        pickles = [name for name in self.members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise UserError(f"{path} is a zip without a checkpoint's data.pkl. Unpack it and name the file in it.")
        self.path = path
        self.root = pickles[0].removesuffix("data.pkl")
        self.memory = _mapped(path)
        self.storages: dict[str, Tensor] = {}

    def span(self, name: str) -> tuple[int, int]:
        """First byte and size of a member."""
        member = self.members[self.root + name]
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise UserError(f"{self.path}: '{member.filename}' is compressed, which no checkpoint is. Refused.")
        local = member.header_offset
        names = int.from_bytes(self.memory[local + 26 : local + 28], "little")
        extra = int.from_bytes(self.memory[local + 28 : local + 30], "little")
        start = local + 30 + names + extra
        if start + member.file_size > len(self.memory):
            raise EOFError(member.filename)
        return start, member.file_size

    def content(self, name: str) -> bytes:
        """A member's bytes."""
        start, size = self.span(name)
        return self.memory[start : start + size]

    def storage(self, dtype: torch.dtype, key: str, count: int) -> Tensor:
        """A storage as a flat tensor, the same one each time."""
        if key not in self.storages:
            start, size = self.span(f"data/{key}")
            if count * dtype.itemsize > size:
                raise EOFError(f"storage {key}")
            self.storages[key] = _flat(self.memory, dtype, start, count)
        return self.storages[key]


def _read_zip(path: Path) -> Contents:
    archive = _Archive(path)
    if archive.root + "byteorder" in archive.members and archive.content("byteorder") != b"little":
        raise UserError(f"{path} was written on a big-endian machine. Save it again on a little-endian one.")
    unpickler = _Unpickler(io.BytesIO(archive.content("data.pkl")), archive.storage)
    return _settled(path, "torch zip", unpickler.load(), unpickler)


def _read_legacy(path: Path) -> Contents:
    """torch before 1.6: three pickles of formalities, the tree, the storages' keys, then the storages one by one."""
    memory = _mapped(path)
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
    unpickler = _Unpickler(memory, lambda dtype, key, count: _flat(memory, dtype, position_of[key], count))
    return _settled(path, "torch legacy", unpickler.load(), unpickler)


def _read_pickle(path: Path) -> Contents:
    unpickler = _Unpickler(_mapped(path))
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
