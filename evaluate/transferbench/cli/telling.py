"""Where the work is, said again and again where no terminal draws a bar."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from transferbench.errors import printable

QUIET = 30.0
"""Seconds after which a command off a terminal says where it is."""


@contextmanager
def told(where: Callable[[], str], is_main: bool = True, every: float = QUIET) -> Iterator[None]:
    """Say where the work inside the block is, again and again, where no terminal draws a bar.

    A thread does: some work takes minutes between two reports. It writes past Python's buffer, whose lock a process
    forked in that moment would never get.
    """
    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(every):
            if text := where():
                line = printable(f"{text}, after {time.monotonic() - began:.0f} s\n")
                with suppress(OSError):
                    os.write(sys.stdout.fileno(), line.encode(errors="backslashreplace"))

    teller = threading.Thread(target=tell, daemon=True)
    if is_main and not sys.stdout.isatty():
        teller.start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def begun(is_main: bool = True) -> Iterator[Callable[[str], None]]:
    """Say what the block began last, as `told` does: it calls the function that it is given."""
    now = ""

    def begin(what: str) -> None:
        nonlocal now
        now = what

    with told(lambda: now, is_main):
        yield begin
