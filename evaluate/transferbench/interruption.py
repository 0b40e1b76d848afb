"""Ctrl-C that waits for the end of a step."""

import signal
import threading
from types import FrameType


class StopSignal:
    """Remembers Ctrl-C or SIGTERM, so that a step is never cut in two; a second Ctrl-C is not held back.

    Outside the main thread, which alone may take signals, it does nothing.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "StopSignal":
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        self.before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
