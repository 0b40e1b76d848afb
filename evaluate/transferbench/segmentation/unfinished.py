"""Work that is taken up where it was stopped: what is kept now and then, and when the process is told to end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferbench import state
from transferbench.runtime import Runtime
from transferbench.stopping import Interrupted

SAVED_EVERY = 60.0
"""Seconds of work that may be lost when the process is killed; an interruption loses none."""


@dataclass
class Unfinished:
    """What is kept at `path`, of work that `identity` fixes; every process reads it, one writes."""

    path: Path
    identity: str
    runtime: Runtime
    saved: float = field(default_factory=time.monotonic)

    def found(self) -> Any:
        """What an earlier call kept of the same work; None when there is nothing."""
        if not self.path.exists():
            return None
        tree = state.load(self.path)
        return tree["work"] if tree["identity"] == self.identity else None

    def keep(self, work: Any) -> None:
        """Write it down."""
        if self.runtime.is_main:
            state.save(self.path, {"identity": self.identity, "work": work})
        self.saved = time.monotonic()

    def now_and_then(self, work: Callable[[], Any]) -> None:
        """Write it down where the last time is a while ago."""
        if time.monotonic() - self.saved >= SAVED_EVERY:
            self.keep(work())

    @contextmanager
    def kept_when_told_to_end(self, work: Callable[[], Any]) -> Iterator[None]:
        """Write it down when a signal ends the block, which comes between two steps."""
        try:
            yield
        except Interrupted:
            self.keep(work())
            raise
