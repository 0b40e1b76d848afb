"""Files that are either whole or absent, and training state as tensors and plain values, without pickle."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from transferbench.errors import UserError


def write(path: Path, content: bytes | str) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, atomically. A value that is not finite is an error."""
    write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def save_tensors(path: Path, tensors: Mapping[str, Tensor], entry: tuple[str, str]) -> None:
    """A safetensors file, written atomically, with one (name, text) `entry` in its header.

    One, because safetensors writes several in an order that changes from process to process.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write(path, safetensors.torch.save(whole, dict([entry])))


def save(path: Path, tree: Mapping[str, Any]) -> None:
    """Save nested dicts, lists, tensors and plain values (such as optimizer states), atomically."""
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_flatten(tree, tensors))
    save_tensors(path, tensors, ("tree", skeleton))


def load(path: Path) -> Any:
    """What `save` saved, on the CPU.

    Raises:
        UserError: when the file is truncated or of another kind.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict: it cannot be iterated)
            skeleton = (file.metadata() or {})["tree"]
    except (safetensors.SafetensorError, KeyError, OSError) as error:
        raise UserError(f"{path} is not a whole training state ({error}). Remove it to start afresh.") from None
    return _restore(json.loads(skeleton), tensors)


def _flatten(node: Any, tensors: dict[str, Tensor]) -> Any:
    match node:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = node.clone()
            return {"tensor": name}
        case Mapping():
            return {"items": [[key, _flatten(value, tensors)] for key, value in node.items()]}
        case list() | tuple():
            return [_flatten(value, tensors) for value in node]
        case None | bool() | int() | float() | str():
            return node
    raise TypeError(f"A training state holds tensors and plain values; found {type(node).__name__}.")


def _restore(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_restore(value, tensors) for value in node]
    if isinstance(node, dict) and "tensor" in node:
        return tensors[node["tensor"]]
    if isinstance(node, dict):
        return {key: _restore(value, tensors) for key, value in node["items"]}
    return node
