"""One flag that tells a program to stop: Ctrl-C, SIGTERM and SLURM's SIGUSR1 set it, and steps look at it.

An exception that a signal's handler raises is lost inside a destructor or a library's callback, as while loader
processes close or kernels compile, and the program would go on.
"""

import _thread
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ECHO = 0.5
"""Seconds within which a second Ctrl-C is the first one, passed on by a launcher."""
GRACE = 10.0
"""Seconds after which a stop that no step has taken up is raised wherever the program is, and again until it ends."""


class Interrupted(KeyboardInterrupt):
    """A signal that ends the work where it stands."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class _Flag:
    """What was asked: the first signal and when; how many blocks look at it themselves; a reminder on its way."""

    number: int = 0
    at: float = 0.0
    is_heard: bool = False
    polls: int = 0
    is_overdue: bool = False
    stop: int = 0


_flag = _Flag()


def asked() -> int:
    """The number of the first signal that told this process to stop, 0 when none did."""
    return _flag.number


def check() -> None:
    """Between two steps: end the work here if the process was told to stop, unless a `polled` block sees to that.

    Raises:
        Interrupted: with the number of the signal.
    """
    if _flag.number and not _flag.polls:
        raise Interrupted(_flag.number)


@contextmanager
def listening() -> Iterator[None]:
    """Signals inside the block set the flag, which the outermost block lowers again at its end.

    A second Ctrl-C is not held back. Outside the main thread, which alone may take signals, nothing is heard.
    """
    if _flag.is_heard or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _ask) for number in SIGNALS}
    _flag.is_heard = True
    try:
        yield
    finally:
        _flag.number, _flag.is_heard, _flag.is_overdue = 0, False, False
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def polled() -> Iterator[None]:
    """A block that looks at `asked` itself and ends well: inside, `check` raises nothing and no reminder comes."""
    _flag.polls += 1
    try:
        yield
    finally:
        _flag.polls -= 1


def _ask(number: int, frame: FrameType | None) -> None:
    if not _flag.number:
        _flag.number, _flag.at, _flag.stop = number, time.monotonic(), _flag.stop + 1
        # The low level, for `threading` takes locks that this handler may have been called in the middle of.
        _thread.start_new_thread(_remind, (_flag.stop,))
    elif _flag.is_overdue:
        _flag.is_overdue = False
        check()
    elif number == signal.SIGINT and time.monotonic() - _flag.at > ECHO:
        raise KeyboardInterrupt


def _remind(stop: int) -> None:
    """Send the signal again and again while the program has not ended for it."""
    main = threading.main_thread().ident
    while main is not None:
        time.sleep(GRACE)
        if not _flag.number or _flag.stop != stop:
            return
        if not _flag.polls:
            _flag.is_overdue = True
            signal.pthread_kill(main, _flag.number)
