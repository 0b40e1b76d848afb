"""The only unpickler: plain data and inert stand-ins, without executing anything, copying much or hashing for long."""

import operator
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from transferbench.checkpoints.safe_globals import Allowed, Fields, Inert, is_attack, meaning, require_keys

Storage = Callable[[torch.dtype, str, int], Tensor]
"""Finds a storage by its type, key and number of values."""
Stored = Callable[[bytes], Any]
"""Reads a storage that lies in the pickle itself."""
COPIED = 1 << 26
"""Bytes that what a pickle calls may be handed in all, and the file's own size four times: each call may copy them, and
two bytes in a file repeat a call."""
ENTRY = 64
"""Bytes of an entry of a mapping or list."""
LONGEST_NUMBER = 1 << 13
"""Bits of an integer. Python writes out none that is twice as long."""


class AttackError(Exception):
    """A pickle names what only an attack needs."""


if TYPE_CHECKING:

    class _PythonUnpickler(pickle.Unpickler):
        """What of `pickle._Unpickler` the class below builds on, and type stubs leave out."""

        dispatch: ClassVar[dict[int, Callable[[Any], None]]]
        """By opcode: the method that carries it out."""
        stack: list[Any]
        """The values since the last mark."""

        def _instantiate(self, klass: Any, args: Any) -> None: ...
        def load_reduce(self) -> None: ...
        def load_build(self) -> None: ...
        def load_long4(self) -> None: ...
        def load_setitem(self) -> None: ...
        def load_setitems(self) -> None: ...
        def load_dict(self) -> None: ...
        def load_additems(self) -> None: ...
        def load_frozenset(self) -> None: ...

else:
    _PythonUnpickler = pickle._Unpickler


class Unpickler(_PythonUnpickler):
    """Resolves every global through `inert.meaning`, so nothing outside that module is ever called.

    The one in Python: in C, ten bytes that name a far memo slot take 64 GB. What is copied or hashed is held against a
    limit first.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_PythonUnpickler.dispatch)

    def __init__(self, file: Any, size: int, storage: Storage | None = None, stored: Stored | None = None) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage
        self._stored = stored
        self._left = COPIED + 4 * size
        self.inert: set[str] = set()

    def spend(self, *values: Any) -> None:
        """Count what is handed to something that may copy it.

        Raises:
            UnpicklingError: when it is more than a checkpoint of this size has use for.
        """
        self._left -= sum(len(each) for each in values if isinstance(each, str | bytes))
        self._left -= ENTRY * sum(len(each) for each in values if isinstance(each, list | tuple | dict | set))
        if self._left < 0:
            raise pickle.UnpicklingError("what lies in it is repeated until it is many times the file's size")

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; nothing is imported."""
        if is_attack(module, name):
            raise AttackError(f"{module}.{name}")
        if (module, name) == ("torch.storage", "_load_from_bytes") and self._stored:
            return Allowed(self._stored)
        meant = meaning(module, name)
        if isinstance(meant, type) and issubclass(meant, Inert):
            self.inert.add(meant.origin)
        return meant

    def persistent_load(self, pid: Any) -> Any:
        """The storage that a reference stands for."""
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
        super()._instantiate(klass, args)

    def _reduce(self) -> None:
        self.spend(*self.stack[-1])
        super().load_reduce()

    def _build(self) -> None:
        self.spend(self.stack[-1] if isinstance(self.stack[-2], Fields) else ())
        super().load_build()

    def _long(self) -> None:
        super().load_long4()
        if self.stack[-1].bit_length() > LONGEST_NUMBER:
            raise pickle.UnpicklingError(f"an integer of more than {LONGEST_NUMBER} bits")

    def _set_item(self) -> None:
        require_keys(self.stack[-2:-1])
        super().load_setitem()

    def _set_items(self) -> None:
        require_keys(self.stack[::2])
        super().load_setitems()

    def _dict(self) -> None:
        require_keys(self.stack[::2])
        super().load_dict()

    def _add_items(self) -> None:
        require_keys(self.stack)
        super().load_additems()

    def _frozenset(self) -> None:
        require_keys(self.stack)
        super().load_frozenset()

    dispatch |= {
        pickle.REDUCE[0]: _reduce,
        pickle.BUILD[0]: _build,
        pickle.LONG4[0]: _long,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _dict,
        pickle.ADDITEMS[0]: _add_items,
        pickle.FROZENSET[0]: _frozenset,
        pickle.BYTEARRAY8[0]: dispatch[pickle.BINBYTES8[0]],  # which takes no memory for bytes that are not there
    }
