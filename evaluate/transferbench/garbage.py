"""What Python's search for cycles of objects, which no reference counts free, is spared."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Garbage collection is off inside the block: among many new objects it takes as long as making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """A block in which a command may import torch: half a million objects, looked at neither then nor ever after.

    That saves a quarter of what `import torch` takes until the process has ended.
    """
    was_there = "torch" in sys.modules
    with uncollected():
        yield
        if "torch" in sys.modules and not was_there:
            gc.freeze()
