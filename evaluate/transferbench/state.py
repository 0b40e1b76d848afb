"""Files that are either whole or absent, and training state as tensors and plain values, without pickle."""

import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from transferbench.errors import UserError, printable

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What can lie where a file is to be written, by the system's type."""


class BrokenStateError(UserError):
    """A file that is not the whole training state it was."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file to fill in, which takes the place of `path` when the block ends well, after it reached the disk.

    A reader sees the old content or the new, never a part, and so does whoever comes after a crash.

    Raises:
        UserError: when no file can take the place of what lies there.
    """
    require_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(path):
            yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def require_replaceable(path: Path) -> None:
    """Refuse a path where something else than a file lies, or a link to it: a folder, device, pipe or socket.

    Raises:
        UserError: naming what lies there.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing lies there, or writing says what is wrong
        return
    # /dev/stdout is such a link, whatever file a shell sends it to: replacing it would take it from every program.
    is_of_process = path.is_symlink() and path.readlink().is_relative_to("/proc")
    if not stat.S_ISREG(mode) or is_of_process:
        what = "a link to an open file" if is_of_process else KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise UserError(
            f"Cannot write {path}: {what} lies there, which a file would replace. Expected a file's name: choose "
            "another, or remove what lies there."
        )


def require_other(path: Path, source: Path | None) -> None:
    """Refuse to write over the file that what is written was made from, even where a person says to replace a file.

    Raises:
        UserError: when the two are one file.
    """
    if source is not None and path.exists() and path.samefile(source):
        raise UserError(
            f"{path} is the file that is read: what it holds beside would be lost. Expected another name to write."
        )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An `OSError` in the block that names no file, as a write to an open one, names this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write(path: Path, content: bytes | str) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(printable(content).encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, atomically. A value that is not finite is an error."""
    write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def save_tensors(path: Path, tensors: Mapping[str, Tensor], entry: tuple[str, str]) -> None:
    """A safetensors file, written atomically, with one (name, text) `entry` in its header.

    One, because safetensors writes several in an order that changes from process to process.

    Raises:
        OSError: when the disk is full, or cannot be written to.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(whole, temporary, dict([entry]))
        except safetensors.SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error from None


class Snapshot:
    """Nested dicts, lists, tensors and plain values (such as optimizer states) as they are at this moment, on the host.

    Copies of a GPU's tensors are only begun: they stand in its stream behind the work so far, and `write` waits.
    """

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.skeleton = json.dumps(_flatten(tree, self.tensors))
        self._copied = torch.cuda.Event() if torch.cuda.is_initialized() else None
        if self._copied:
            self._copied.record()

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def is_finite(self) -> bool:
        """Whether every floating-point tensor holds finite numbers only."""
        self._wait()
        return all(bool(t.isfinite().all()) for t in self.tensors.values() if t.is_floating_point())

    def write(self, path: Path) -> None:
        """Write it atomically, with a checksum of its content.

        Raises:
            OSError: when the disk is full, or cannot be written to.
        """
        self._wait()
        save_tensors(path, self.tensors, ("tree", f"{_checksum(self.tensors, self.skeleton)} {self.skeleton}"))

    def _wait(self) -> None:
        if self._copied:
            self._copied.synchronize()


def save(path: Path, tree: Mapping[str, Any]) -> None:
    """Save nested dicts, lists, tensors and plain values, atomically."""
    Snapshot(tree).write(path)


def load(path: Path) -> Any:
    """What `save` saved, on the CPU.

    Raises:
        BrokenStateError: when the file is truncated, of another kind, or its content is not what was saved.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict: it cannot be iterated)
            checksum, _, skeleton = (file.metadata() or {})["tree"].partition(" ")
    except (safetensors.SafetensorError, KeyError, OSError) as error:
        raise _broken(path, str(error)) from None
    if checksum != _checksum(tensors, skeleton):
        raise _broken(path, "its checksum does not match its content")
    return _restore(json.loads(skeleton), tensors)


def require_writable(folder: Path, option: str = "--out") -> None:
    """Refuse, leaving nothing behind, a folder that could not be made or written to; `option` is what names it.

    Raises:
        UserError: naming the folder that is in the way.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = "cannot be written to" if nearest.is_dir() else "is not a folder"
        raise UserError(f"Cannot write to {folder}: {nearest} {what}. Choose another {option}.")


def _broken(path: Path, why: str) -> BrokenStateError:
    return BrokenStateError(f"{path} is not a complete training state ({why}). Remove it to start again.")


def _checksum(tensors: Mapping[str, Tensor], skeleton: str) -> str:
    """sha256 over the plain values and each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(skeleton.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flatten(node: Any, tensors: dict[str, Tensor]) -> Any:
    match node:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = _on_host(node.detach())
            return {"tensor": name}
        case Mapping():
            return {"items": [[key, _flatten(value, tensors)] for key, value in node.items()]}
        case list() | tuple():
            return [_flatten(value, tensors) for value in node]
        case None | bool() | int() | float() | str():
            return node
    raise TypeError(f"A training state holds tensors and plain values; found {type(node).__name__}.")


def _on_host(tensor: Tensor) -> Tensor:
    """A copy in main memory, contiguous."""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return copy.copy_(tensor, non_blocking=True)


def _restore(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_restore(value, tensors) for value in node]
    if isinstance(node, dict) and "tensor" in node:
        return tensors[node["tensor"]]
    if isinstance(node, dict):
        return {key: _restore(value, tensors) for key, value in node["items"]}
    return node


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
