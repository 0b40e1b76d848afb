"""The state dicts in a file: every mapping from names to tensors, wherever it lies."""

import re
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from transferbench.checkpoints.safe_globals import Inert
from transferbench.errors import UserError

WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")
RESERVED = re.compile(r"(?<=\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
COUNTERS = ("n_averaged", "steps")
APART = "/"
"""Begins the names that lack a wrapper."""
DEEPEST = 32
"""Mappings inside mappings that are entered."""
LONGEST_NAME = 1024


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, without the wrappers most names carried, and the keys one follows to it.

    `written` gives the names as they stand in the file.
    """

    path: tuple[str, ...]
    wrapper: str
    tensors: dict[str, Tensor]
    written: dict[str, str]

    def has(self, pattern: str) -> bool:
        """Whether some name, without wrappers, fits the pattern as a whole."""
        return re.search(rf"^(?:{pattern})$", self._lines, re.MULTILINE) is not None

    @cached_property
    def _lines(self) -> str:
        return "\n".join(self.tensors)

    def below(self, prefix: str) -> list[str]:
        """The names that begin with the prefix, in the file's order."""
        if not prefix:
            return list(self.tensors)
        first = bisect_left(self._sorted, (prefix,))
        last = bisect_left(self._sorted, (prefix[:-1] + chr(ord(prefix[-1]) + 1),), first)
        return [name for _, name in sorted((at, name) for name, at in self._sorted[first:last])]

    @cached_property
    def _sorted(self) -> list[tuple[str, int]]:
        return sorted((name, at) for at, name in enumerate(self.tensors))

    @property
    def key(self) -> str:
        """The last key on the way to it; empty for the file itself."""
        return self.path[-1] if self.path else ""


def state_dicts(tree: Any) -> list[StateDict]:
    """Every state dict of a tree, nearest to the top first. The tree may be cyclic.

    Mappings whose keys are not names (optimizer states) and lists are not entered.

    Raises:
        UserError: for mappings nested deeper, or names longer, than any network's.
    """
    states: list[StateDict] = []
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), tree)])
    seen: set[int] = set()
    while waiting:
        path, node = waiting.popleft()
        if not isinstance(node, dict) or id(node) in seen:
            continue
        seen.add(id(node))
        named = {key: value for key, value in node.items() if isinstance(key, str)}
        _require_usual(path, named)
        tensors = {key: value for key, value in named.items() if isinstance(value, Tensor)}
        if tensors:
            states.append(_unwrapped(path, tensors))
        waiting.extend(((*path, key), value) for key, value in named.items() if isinstance(value, dict))
    return states


def _require_usual(path: tuple[str, ...], named: dict[str, Any]) -> None:
    """Refuse what would take time or memory that grows faster than the file."""
    parts = [key for key, value in named.items() if isinstance(value, Tensor | dict)]
    if len(path) > DEEPEST and parts:
        raise UserError(f"mappings are nested more than {DEEPEST} deep. Save the state dict alone.")
    if long := next((key for key in parts if len(key) > LONGEST_NAME), None):
        raise UserError(
            f"a name of {len(long):,} characters ('{long[:40]}...') is no tensor's; at most {LONGEST_NAME:,}."
        )


def instead(tree: Any) -> str:
    """What a tree without state dicts is, in words: a whole module, which nobody can use unexecuted, or its keys."""
    parts = tree if isinstance(tree, dict) else {}
    places = [("", tree), *((f" ('{key}')", value) for key, value in parts.items() if _is_module(value))]
    place, content = places[-1]
    if isinstance(content, Inert):
        return f"a {content.origin}{place}, which is never executed"
    keys = f" of: {', '.join(map(str, list(parts)[:8]))}" if parts else ""
    return f"a {type(content).__name__}{keys}"


def _is_module(value: Any) -> bool:
    return isinstance(value, Inert) and isinstance(value.state, dict) and "_modules" in value.state


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
