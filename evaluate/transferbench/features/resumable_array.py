"""An array file that several processes fill in, and that resumes after a kill."""

import errno
import fcntl
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Bool, Float

from transferbench import state
from transferbench.errors import UserError
from transferbench.runtime import Runtime

PATIENCE = 2.0
"""Seconds of work that may be lost when the process is killed."""


class ResumableArray:
    """Rows on disk in numbered batches, float32 unless it is said otherwise, and beside them which batches are whole.

    The room is taken before the first row is computed, and rows are written and not mapped: a full disk is an error
    here, and no signal that kills.
    """

    def __init__(self, path: Path, dtype: str = "float32") -> None:
        self.dtype = np.dtype(dtype)
        self.path, self._marks_at = path, path.with_name(f"{path.name}.done")
        self._files: tuple[IO[bytes], ...] = ()
        self._fresh: list[int] = []
        self._saved = time.monotonic()

    def prepare(self, shape: tuple[int, int], batches: int) -> None:
        """Make both files, or leave them as they are when they are of this shape; for one process.

        Raises:
            OSError: when there is no room for them, after removing what was made.
        """
        try:
            fits = self._marks_at.stat().st_size == batches
            there = np.load(self.path, mmap_mode="r") if fits else None
            fits = there is not None and (there.shape, there.dtype) == (shape, self.dtype)
        except (OSError, ValueError, EOFError):
            fits = False
        if fits:
            return
        self.remove()
        try:
            with state.naming(self.path):
                _allocate(self.path, shape, self.dtype)
                self._marks_at.write_bytes(bytes(batches))
        except OSError:
            self.remove()
            raise

    def open(self) -> None:
        """Open both files; for every process, once they are prepared."""
        self._files = (self.path.open("r+b"), self._marks_at.open("r+b"))
        self._width = _header(self._files[0])[1]
        self._start = self._files[0].tell()

    @property
    def done(self) -> Bool[np.ndarray, "batches"]:
        """Which batches are whole on disk."""
        return np.frombuffer(self._marks_at.read_bytes(), np.uint8) == 1

    def put(self, batch: int, first: int, rows: Float[np.ndarray, "b d"]) -> None:
        """Write a batch from row `first` on; it counts as done from the next `save` on, which this calls now and then.

        Raises:
            OSError: when the disk is full after all, or cannot be written to.
        """
        place = self._start + self.dtype.itemsize * self._width * first
        with state.naming(self.path):
            _write(self._files[0], place, np.ascontiguousarray(rows, self.dtype).tobytes())
        self._fresh.append(batch)
        if time.monotonic() - self._saved >= PATIENCE:
            self.save()

    def save(self) -> None:
        """Bring the rows to the disk and only then mark them."""
        if self._fresh:
            rows, marks = self._files
            with state.naming(self.path):
                os.fsync(rows.fileno())
                for batch in self._fresh:
                    _write(marks, batch, b"\1")
                os.fsync(marks.fileno())
        self._fresh, self._saved = [], time.monotonic()

    def close(self) -> None:
        """Leave both files to whoever comes next."""
        for file in self._files:
            file.close()

    def remove(self) -> None:
        """Forget all of it."""
        self._marks_at.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _allocate(path: Path, shape: tuple[int, int], dtype: np.dtype) -> None:
    """An array file of zeros whose room on the disk is taken, where the file system can do that."""
    with path.open("wb") as file:
        described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, described | {"shape": shape})
        file.flush()
        size = file.tell() + dtype.itemsize * shape[0] * shape[1]
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            file.truncate(size)


def _header(file: IO[bytes]) -> tuple[int, ...]:
    """The shape that an array file states; its rows begin where the file then stands."""
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)[0]


def _write(file: IO[bytes], place: int, content: bytes) -> None:
    """All of it, however many calls that takes."""
    left = memoryview(content)
    while left:
        written = os.pwrite(file.fileno(), left, place)
        left, place = left[written:], place + written


@contextmanager
def claimed(path: Path, runtime: Runtime, dtype: str = "float32") -> Iterator[ResumableArray]:
    """The unfinished work that is to become the file at `path`.

    It stays for the next call when the block is left by an interruption or a bug, and goes when it is left well or by a
    `UserError`. While another program holds the claim, this one works on a file of its own.
    """
    with ExitStack() as stack:
        is_ours = runtime.is_main and _lock(path, stack)
        token = runtime.gather_objects("" if is_ours else os.urandom(4).hex())[0]
        work, stays = ResumableArray(path.with_name(f".{path.name}{token}.part"), dtype), False
        try:
            yield work
        except BaseException as error:
            stays = is_ours and not isinstance(error, UserError)
            with suppress(OSError):  # the error is told, not what it leads to
                work.save()
            raise
        finally:
            work.close()
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
