"""Signals that wait for the end of a step: Ctrl-C, SIGTERM, and SIGUSR1 by which SLURM announces that time is up."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from transferbench.runtime import Runtime

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ECHO = 0.5
"""Seconds within which a second Ctrl-C is the first one, passed on by a launcher."""


class StopSignal:
    """Remembers the first signal, so that a step is never cut in two; a second Ctrl-C is not held back.

    Outside the main thread, which alone may take signals, it does nothing.
    """

    def __init__(self) -> None:
        self.number = 0
        self._at = 0.0
        self._answer: Callable[[], bool] = lambda: False

    @property
    def asked(self) -> bool:
        """Whether this process was told to stop."""
        return self.number > 0

    def agreed(self, runtime: Runtime) -> bool:
        """Whether any process was told to before its last call of this; each is to call it after every step.

        The answer of one process is that of now. Several learn it a step late, so that none waits for its device.
        """
        if runtime.world_size == 1:
            return self.asked
        before, self._answer = self._answer, runtime.any_later(self.asked)
        return before()

    def shared(self, runtime: Runtime) -> int:
        """The number of the signal that one of the processes got, 0 when none did."""
        return max(runtime.gather_objects(self.number))

    def __enter__(self) -> "StopSignal":
        numbers = SIGNALS if threading.current_thread() is threading.main_thread() else ()
        self.before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT and time.monotonic() - self._at > ECHO:
            raise KeyboardInterrupt
        if not self.asked:
            self.number, self._at = number, time.monotonic()


class Interrupted(KeyboardInterrupt):
    """A signal that ends the work where it stands."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGUSR1 inside the block end it as Ctrl-C does, by `Interrupted`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    numbers = SIGNALS[1:] if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
