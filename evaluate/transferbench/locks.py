"""Files that one process at a time holds; a hold ends with its process, however that ends."""

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

PATIENCE = 60.0
"""Seconds after which `alone` no longer waits."""
TAKEN = (errno.EACCES, errno.EAGAIN)

_held: set[Path] = set()


class Hold:
    """A lock that this process has, and the note in its file of who that is."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path, self._file = path, file
        _held.add(path)

    def note(self, who: dict[str, Any]) -> None:
        """Say in the file who holds it."""
        self._file.truncate(0)
        self._file.write(json.dumps(who))
        self._file.flush()

    def release(self) -> None:
        """Give it up; the file stays."""
        _held.discard(self.path)
        self._file.close()

    def remove(self) -> None:
        """Give it up together with its file."""
        self.path.unlink(missing_ok=True)
        self.release()


def take(path: Path) -> Hold | None:
    """Hold the file, which is made when it is not there; None while a live process does, this one included.

    Where the file system has no locks everybody holds.

    Raises:
        OSError: when the file cannot be made.
    """
    path = path.absolute()
    while path not in _held:  # to close a file a second time would end every hold that this process has on it
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            try:
                file = path.open("a+")
            except PermissionError:
                if path.exists():  # another person's
                    return None
                raise
            if not _is_ours(file):
                file.close()
                return None
            if _is_there(path, file):
                return Hold(path, file)
            file.close()
    return None


def holder(path: Path) -> dict[str, Any]:
    """What the note in a lock's file says; nothing where there is none."""
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """The block runs while no other process is in one of the same path; the file is there only meanwhile."""
    end = time.monotonic() + PATIENCE
    while (hold := take(path)) is None and time.monotonic() < end:
        time.sleep(0.01)
    try:
        yield
    finally:
        if hold:
            hold.remove()


def _is_ours(file: IO[str]) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in TAKEN
    return True


def _is_there(path: Path, file: IO[str]) -> bool:
    """Whether the file is still the one at its path, and was not removed by who held it before."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
