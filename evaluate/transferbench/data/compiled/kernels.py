"""How the functions of this room are compiled: to machine code when first called, and kept in the cache folder.

The files of this room import numba, which is optional (`pip install transferbench[fast]`); nothing outside it does.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba import njit
from numba.core import config

from transferbench.runtime import cache_root

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
"""Without checks for division by zero, so that loops become vector instructions; float arithmetic stays in order.

Slices are filled by loops in this room: with an assignment numba compiles the text of its error too, in a third of the
time.
"""
OF_A_PART: dict[str, Any] = OPTIONS | {"no_cpython_wrapper": True}
SOURCES = sorted(Path(__file__).parent.glob("*.py"))
KEPT = cache_root() / "compiled" / hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]
"""Numba would notice that the file of a function has changed, but not that of a function it calls."""
FOLDER = "CACHE_DIR"
MARK = KEPT / f"compiled-{numba.__version__}-{binding.get_host_cpu_name()}"
"""Lies beside the code once all of it has been compiled for processors of this kind."""


def kernel(function: Any) -> Any:
    """A function that Python calls: compiled for the types it is called with, and kept."""
    before = getattr(config, FOLDER)
    setattr(config, FOLDER, str(KEPT))
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder to keep it in
        return njit(**OPTIONS)(function)
    finally:
        setattr(config, FOLDER, before)


def part(function: Any) -> Any:
    """A function that compiled ones alone call, and hold: it is not kept, and Python cannot call it."""
    return njit(**OF_A_PART)(function)


def is_kept() -> bool:
    """Whether an earlier process compiled all functions for this kind of processor and kept them."""
    return MARK.is_file()


def keep() -> None:
    """Note that all functions are compiled; a folder that cannot be written to keeps none."""
    with contextlib.suppress(OSError):
        KEPT.mkdir(parents=True, exist_ok=True)
        MARK.touch()
