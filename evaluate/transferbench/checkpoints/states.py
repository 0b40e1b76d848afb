"""The state dicts in a file: every mapping from names to tensors, wherever it lies."""

import re
from collections import deque
from dataclasses import dataclass
from typing import Any

from torch import Tensor

WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")
RESERVED = re.compile(r"(?<=\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
COUNTERS = ("n_averaged", "steps")
APART = "/"
"""Begins the names that lack a wrapper."""


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, without the wrappers most names carried, and the keys one follows to it.

    `written` gives the names as they stand in the file.
    """

    path: tuple[str, ...]
    wrapper: str
    tensors: dict[str, Tensor]
    written: dict[str, str]

    @property
    def key(self) -> str:
        """The last key on the way to it; empty for the file itself."""
        return self.path[-1] if self.path else ""


def state_dicts(tree: Any) -> list[StateDict]:
    """Every state dict of a tree, nearest to the top first. The tree may be cyclic.

    Mappings whose keys are not names (optimizer states) and lists are not entered.
    """
    found: list[StateDict] = []
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), tree)])
    seen: set[int] = set()
    while waiting:
        path, node = waiting.popleft()
        if not isinstance(node, dict) or id(node) in seen:
            continue
        seen.add(id(node))
        named = {key: value for key, value in node.items() if isinstance(key, str)}
        tensors = {key: value for key, value in named.items() if isinstance(value, Tensor)}
        if tensors:
            found.append(_unwrapped(path, tensors))
        waiting.extend(((*path, key), value) for key, value in named.items() if isinstance(value, dict))
    return found


def _unwrapped(path: tuple[str, ...], tensors: dict[str, Tensor]) -> StateDict:
    """Strip wrappers, anchored and repeatedly, that most names carry, and compilers' and checkpointing's anywhere.

    `module.` inside a name may be the source's own. Names that lack what most carry are kept apart by `APART`: they are
    never mixed with the others.
    """
    removed, written = "", {name: name for name in tensors}
    while wrapper := next((w for w in WRAPPERS if 2 * sum(n.startswith(w) for n in written) > len(written)), None):
        removed, written = removed + wrapper, {_without(name, wrapper): full for name, full in written.items()}
    bare = {RESERVED.sub("", name): full for name, full in written.items()}
    if len(bare) == len(written):
        written = bare
    return StateDict(path, removed, {name: tensors[full] for name, full in written.items()}, written)


def _without(name: str, wrapper: str) -> str:
    if name.startswith(wrapper):
        return name.removeprefix(wrapper)
    return name if name in COUNTERS or name.startswith(APART) else APART + name
