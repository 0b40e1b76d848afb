"""Any checkpoint file as plain data and memory-mapped tensors, without executing anything in it."""

import io
import json
import mmap
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from transferbench.checkpoints import containers
from transferbench.checkpoints.archives import Archive, flat, mapped
from transferbench.checkpoints.safe_globals import Inert, NumpyArray, require_keys
from transferbench.checkpoints.states import DEEPEST
from transferbench.checkpoints.unpickler import AttackError, Storage, Stored, Unpickler
from transferbench.errors import UserError

UNPACKED = 8
"""How many times its own size an archive of arrays may unpack to, beside `REPEATED` bytes."""
REPEATED = 1 << 26


SCRIPT = "TorchScript"


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
    except AttackError as error:
        raise UserError(
            f"{path} is malicious: its pickle names {error}, which no checkpoint needs. Nothing in it was executed. "
            "Do not open it with anything else, and tell whoever distributes it."
        ) from None
    except Exception as error:  # cut or hostile bytes can raise anything, and no more is known than that they did
        raise UserError(
            f"{path} looks like a checkpoint ({container}) but is truncated or damaged "
            f"({type(error).__name__}: {error}). {containers.AGAIN}"
        ) from None


def _read_safetensors(path: Path) -> Contents:
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Contents(path, "safetensors", tensors, file.metadata() or {})


def _read_shards(path: Path) -> Contents:
    parts = [_read_safetensors(shard).tree for shard in containers.shards(path)]
    tensors: dict[str, Tensor] = {}
    for part in parts:
        for name, tensor in part.items():
            _add(tensors, name, tensor, path)
    absent = json.loads(path.read_text())["weight_map"].keys() ^ tensors.keys()
    if absent:
        raise UserError(f"{path} and its shards differ in {len(absent)} tensors: {', '.join(sorted(absent)[:8])}.")
    return Contents(path, "sharded safetensors", tensors)


def _add(tensors: dict[str, Tensor], name: str, tensor: Tensor, path: Path) -> None:
    """Refuse, by a UserError, a name that is there: which of the two is meant is not to be guessed."""
    if name in tensors:
        raise UserError(f"{path} holds '{name}' twice, and readers differ in which of them they take.")
    tensors[name] = tensor


def _read_npz(path: Path, members: list[zipfile.ZipInfo]) -> Contents:
    """Arrays as `numpy.savez` writes them, named with dots where they have slashes; none that needs a pickle."""
    if twice := [name for name, count in Counter(each.filename for each in members).items() if count > 1]:
        raise UserError(f"{path} holds '{twice[0]}' twice, and readers differ in which of them they take.")
    stated, most = sum(each.file_size for each in members), UNPACKED * path.stat().st_size + REPEATED
    if stated > most:
        raise UserError(f"{path}: its arrays are said to take {stated:,} bytes unpacked; expected at most {most:,}.")
    tensors: dict[str, Tensor] = {}
    with zipfile.ZipFile(path) as archive:
        for each in members:
            name = each.filename.removesuffix(".npy")
            with archive.open(each) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
                if file.read(1):  # to the end, where the checksum is held against what was read
                    raise UserError(f"{path}: '{name}' holds more than the {list(array.shape)} values it states.")
            if array.dtype.kind not in "fiub":
                raise UserError(f"{path}: '{name}' is an array of {array.dtype}; expected numbers.")
            plain = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
            _add(tensors, name.replace("/", "."), torch.from_numpy(plain), path)
    return Contents(path, "numpy zip", tensors)


def _read_zip(path: Path) -> Contents:
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
    if members and all(member.filename.endswith(".npy") for member in members):
        return _read_npz(path, members)
    archive = Archive(path)
    if archive.root + "byteorder" in archive.members and archive.content("byteorder") != b"little":
        raise UserError(f"{path} was written on a big-endian machine. Save it again on a little-endian one.")
    pickled = archive.content("data.pkl")
    unpickler = Unpickler(io.BytesIO(pickled), len(pickled), archive.storage, _stored)
    tree = unpickler.load()
    if archive.is_script:
        return Contents(path, SCRIPT, _attributes(path, tree), {}, tuple(sorted(unpickler.inert)), archive.check)
    return _settled(path, "torch zip", tree, unpickler, archive.check)


def _attributes(path: Path, module: Any) -> dict[str, Tensor]:
    """The tensors that a TorchScript module and the modules in it have as attributes, by their names in it."""
    tensors: dict[str, Tensor] = {}
    waiting: list[tuple[tuple[str, ...], Any]] = [((), module)]
    seen: set[int] = set()
    while waiting:
        names, each = waiting.pop()
        if not isinstance(each, Inert) or id(each) in seen or not isinstance(each.state, dict):
            continue
        seen.add(id(each))
        if len(names) > DEEPEST:
            raise UserError(f"{path}: its modules are nested more than {DEEPEST} deep. Save the state dict alone.")
        for name, value in each.state.items():
            if isinstance(value, Tensor):
                _add(tensors, ".".join((*names, str(name))), value, path)
            elif isinstance(value, Inert):
                waiting.append(((*names, str(name)), value))
    if not tensors:
        raise UserError(
            f"{path} is a TorchScript archive whose modules hold no tensors: they are constants of its code, which is "
            "never run. Save the weights of the network it was made of: torch.save(model.state_dict(), OUT)."
        )
    return tensors


def _read_legacy(path: Path) -> Contents:
    tree, unpickler = _legacy(mapped(path), _stored)
    return _settled(path, "torch legacy", tree, unpickler)


def _stored(content: bytes) -> Any:
    """A storage as it lies in a bare pickle of tensors: a legacy file of its own."""
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return _legacy(memory)[0]


def _legacy(memory: mmap.mmap, stored: Stored | None = None) -> tuple[Any, Unpickler]:
    """torch before 1.6: three pickles of formalities, the tree, the storages' keys, then the storages one by one."""

    def unpickler(storage: Storage | None = None) -> Unpickler:
        return Unpickler(memory, len(memory), storage, stored)

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
    require_keys(keys)
    for key in keys:
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
    unpickler = Unpickler(memory, len(memory), stored=_stored)
    return _settled(path, "pickle", unpickler.load(), unpickler)


def _settled(
    path: Path,
    container: str,
    tree: Any,
    unpickler: Unpickler,
    check: Callable[[Iterable[Tensor]], None] = _unchecked,
) -> Contents:
    """The tree with numpy arrays made tensors, in place; it may be cyclic."""
    top = [tree]
    made: dict[int, tuple[NumpyArray, Any]] = {}
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
                    made[id(value)] = value, value.tensor()
                node[key] = made[id(value)][1]
            elif isinstance(value, dict | list):
                waiting.append(value)
    return Contents(path, container, top[0], {}, tuple(sorted(unpickler.inert)), check)
