"""An array file that several processes fill in, and that resumes after a kill."""

import fcntl
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64

from transferbench.errors import UserError
from transferbench.runtime import Runtime

PATIENCE = 2.0
"""Seconds of work that may be lost when the process is killed."""


class ResumableArray:
    """Float32 rows on disk in numbered batches, and beside them which batches are whole there."""

    def __init__(self, path: Path) -> None:
        self.path, self._marks_at = path, path.with_name(f"{path.name}.done")
        self._fresh: list[int] = []
        self._saved = time.monotonic()

    def prepare(self, shape: tuple[int, int], batches: int) -> None:
        """Make both files, or leave them as they are when they are of this shape; for one process."""
        try:
            fits = self._marks_at.stat().st_size == batches
            fits = fits and np.lib.format.open_memmap(self.path, "r").shape == shape
        except (OSError, ValueError):
            fits = False
        if not fits:
            self._marks_at.unlink(missing_ok=True)
            np.lib.format.open_memmap(self.path, "w+", np.float32, shape).flush()
            self._marks_at.write_bytes(bytes(batches))

    def open(self) -> None:
        """Map both files; for every process, once they are prepared."""
        self._rows = np.lib.format.open_memmap(self.path, "r+")
        self._marks = np.memmap(self._marks_at, np.uint8, "r+")

    @property
    def done(self) -> Bool[np.ndarray, "batches"]:
        """Which batches are whole on disk."""
        return np.array(self._marks) == 1

    def put(self, batch: int, places: Int64[np.ndarray, "b"], rows: Float[np.ndarray, "b d"]) -> None:
        """Write a batch; it counts as done from the next `save` on, which this calls now and then."""
        self._rows[places] = rows
        self._fresh.append(batch)
        if time.monotonic() - self._saved >= PATIENCE:
            self.save()

    def save(self) -> None:
        """Bring the rows to the disk and only then mark them."""
        if self._fresh:
            self._rows.flush()
            self._marks[self._fresh] = 1
            self._marks.flush()
        self._fresh, self._saved = [], time.monotonic()

    def remove(self) -> None:
        """Forget all of it."""
        self._marks_at.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


@contextmanager
def claimed(path: Path, runtime: Runtime) -> Iterator[ResumableArray]:
    """The unfinished work that is to become the file at `path`.

    It stays for the next call when the block is left by an interruption or a bug, and goes when it is left well or by a
    `UserError`. While another program holds the claim, this one works on a file of its own.
    """
    with ExitStack() as stack:
        is_ours = runtime.is_main and _lock(path, stack)
        token = runtime.gather_objects("" if is_ours else os.urandom(4).hex())[0]
        work, stays = ResumableArray(path.with_name(f".{path.name}{token}.part")), False
        try:
            yield work
        except BaseException as error:
            stays = is_ours and not isinstance(error, UserError)
            work.save()
            raise
        finally:
            if runtime.is_main and not stays:
                work.remove()


def _lock(path: Path, stack: ExitStack) -> bool:
    """Whether this process may hold the claim, until the stack is left. It ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = stack.enter_context((path.parent.parent / f".{path.parent.name}.lock").open("a"))
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, zlib.crc32(path.name.encode()))
    except OSError:
        return False
    return True
