"""The flag of `stopping` among several processes, for loops that save before they stop."""

from collections.abc import Callable
from contextlib import ExitStack

from transferbench import stopping
from transferbench.runtime import Runtime
from transferbench.stopping import ECHO, SIGNALS, Interrupted

__all__ = ["ECHO", "SIGNALS", "Interrupted", "StopSignal"]


class StopSignal:
    """Sees to it that a step is never cut in two: who enters asks after every step whether to stop.

    A second Ctrl-C is not held back.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._answer: Callable[[], bool] = lambda: False

    @property
    def number(self) -> int:
        """The signal by which this process was told to stop, 0 when by none."""
        return stopping.asked()

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
        self._stack.enter_context(stopping.listening())
        self._stack.enter_context(stopping.polled())
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
