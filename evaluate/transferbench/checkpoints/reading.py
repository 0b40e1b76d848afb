"""The only unpickler: any checkpoint file as plain data and memory-mapped tensors, without executing anything in it."""

import io
import json
import mmap
import operator
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from transferbench.checkpoints import containers
from transferbench.checkpoints.archives import Archive, flat, mapped
from transferbench.checkpoints.safe_globals import Allowed, Fields, Inert, NumpyArray, is_attack, meaning, require_keys
from transferbench.errors import UserError

Storage = Callable[[torch.dtype, str, int], Tensor]
COPIED = 1 << 26
"""Bytes and entries that what a pickle calls may be handed in all, and the file's own size four times: each call may
copy them, and two bytes in a file repeat a call."""


def _unchecked(tensors: Iterable[Tensor]) -> None:
    """A container without checksums."""


@dataclass(frozen=True)
class Contents:
    """A file once read. Tensors are views of the file, on the CPU; `inert` names what was not executed.

    `check` holds tensors against the checksums of the container, where it has some: a `UserError` for a damaged file.
    """

    path: Path
    container: str
    tree: Any
    header: Mapping[str, str] = field(default_factory=dict)
    inert: tuple[str, ...] = ()
    check: Callable[[Iterable[Tensor]], None] = _unchecked


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

    The one in Python: in C, ten bytes that name a far memo slot take 64 GB. What is copied or hashed is held against a
    limit first.
    """

    dispatch = dict(pickle._Unpickler.dispatch)  # pyright: ignore

    def __init__(self, file: Any, size: int, storage: Storage | None = None, nested: bool = False) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage
        self._nested = nested
        self._left = COPIED + 4 * size
        self.inert: set[str] = set()

    def spend(self, *values: Any) -> None:
        """Count what is handed to something that may copy it.

        Raises:
            UnpicklingError: when it is more than a checkpoint of this size has use for.
        """
        self._left -= sum(len(each) for each in values if isinstance(each, str | bytes | list | tuple | dict | set))
        if self._left < 0:
            raise pickle.UnpicklingError("what lies in it is repeated until it is many times the file's size")

    def find_class(self, module: str, name: str) -> Any:
        if is_attack(module, name):
            raise _AttackError(f"{module}.{name}")
        if (module, name) == ("torch.storage", "_load_from_bytes") and not self._nested:
            return Allowed(_stored)
        meant = meaning(module, name)
        if isinstance(meant, type) and issubclass(meant, Inert):
            self.inert.add(meant.origin)
        return meant

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":
            return pid[1]
        if pid[0] != "storage" or self._storage is None or not isinstance(pid[1], torch.dtype):
            raise pickle.UnpicklingError("an unknown reference")
        if not isinstance(pid[2], str | int):
            raise pickle.UnpicklingError("a storage without a name")
        whole = self._storage(pid[1], str(pid[2]), operator.index(pid[4]))
        view = pid[5] if len(pid) > 5 else None
        return whole if view is None else whole[view[1] : view[1] + view[2]]

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.spend(*args)
        super()._instantiate(klass, args)  # pyright: ignore

    def _reduce(self) -> None:
        self.spend(*self.stack[-1])  # pyright: ignore
        super().load_reduce()  # pyright: ignore

    def _build(self) -> None:
        self.spend(self.stack[-1] if isinstance(self.stack[-2], Fields) else ())  # pyright: ignore
        super().load_build()  # pyright: ignore

    def _set_item(self) -> None:
        require_keys(self.stack[-2:-1])  # pyright: ignore
        super().load_setitem()  # pyright: ignore

    def _set_items(self) -> None:
        require_keys(self.stack[::2])  # pyright: ignore
        super().load_setitems()  # pyright: ignore

    def _dict(self) -> None:
        require_keys(self.stack[::2])  # pyright: ignore
        super().load_dict()  # pyright: ignore

    def _add_items(self) -> None:
        require_keys(self.stack)  # pyright: ignore
        super().load_additems()  # pyright: ignore

    def _frozenset(self) -> None:
        require_keys(self.stack)  # pyright: ignore
        super().load_frozenset()  # pyright: ignore

    dispatch |= {
        pickle.REDUCE[0]: _reduce,
        pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _dict,
        pickle.ADDITEMS[0]: _add_items,
        pickle.FROZENSET[0]: _frozenset,
        pickle.BYTEARRAY8[0]: dispatch[pickle.BINBYTES8[0]],  # which takes no memory for bytes that are not there
    }


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
    pickled = archive.content("data.pkl")
    unpickler = _Unpickler(io.BytesIO(pickled), len(pickled), archive.storage)
    return _settled(path, "torch zip", unpickler.load(), unpickler, archive.check)


def _read_legacy(path: Path) -> Contents:
    tree, unpickler = _legacy(mapped(path))
    return _settled(path, "torch legacy", tree, unpickler)


def _stored(content: bytes) -> Any:
    """A storage as it lies in a bare pickle of tensors: a legacy file of its own."""
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return _legacy(memory, nested=True)[0]


def _legacy(memory: mmap.mmap, nested: bool = False) -> tuple[Any, _Unpickler]:
    """torch before 1.6: three pickles of formalities, the tree, the storages' keys, then the storages one by one."""

    def unpickler(storage: Storage | None = None) -> _Unpickler:
        return _Unpickler(memory, len(memory), storage, nested)

    for _ in range(3):
        unpickler().load()
    tree_at = memory.tell()
    sizes: dict[str, tuple[torch.dtype, int]] = {}

    def shape_only(dtype: torch.dtype, key: str, count: int) -> Tensor:
        sizes[key] = dtype, count
        return torch.empty(count, dtype=dtype, device="meta")

    unpickler(shape_only).load()
    position_of: dict[str, int] = {}
    keys = unpickler().load()
    position = memory.tell()
    for key in map(str, keys if all(isinstance(each, str) for each in keys) else ()):
        dtype, count = sizes[key]
        if int.from_bytes(memory[position : position + 8], "little") != count:
            raise EOFError(f"storage {key}")
        position_of[key] = position + 8
        position += 8 + count * dtype.itemsize
    memory.seek(tree_at)
    last = unpickler(lambda dtype, key, count: flat(memory, dtype, position_of[key], count))
    return last.load(), last


def _read_pickle(path: Path) -> Contents:
    memory = mapped(path)
    unpickler = _Unpickler(memory, len(memory))
    return _settled(path, "pickle", unpickler.load(), unpickler)


def _settled(
    path: Path,
    container: str,
    tree: Any,
    unpickler: _Unpickler,
    check: Callable[[Iterable[Tensor]], None] = _unchecked,
) -> Contents:
    """The tree with numpy arrays made tensors, in place; it may be cyclic."""
    top = [tree]
    made: dict[int, Any] = {}
    waiting: list[Any] = [top]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            if isinstance(value, NumpyArray):
                if id(value) not in made:
                    unpickler.spend(value.data)
                    made[id(value)] = value.tensor()
                node[key] = made[id(value)]
            elif isinstance(value, dict | list):
                waiting.append(value)
    return Contents(path, container, top[0], {}, tuple(sorted(unpickler.inert)), check)
