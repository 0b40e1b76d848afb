"""A folder of a job's own for its unfinished work, where the next call finds it and no other process works."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from transferbench import locks
from transferbench.locks import Hold
from transferbench.runtime import Runtime

LOCK = ".lock"


@dataclass
class Scratch:
    """The folder; what is in it goes at the end when `is_done` says that the job's record is written."""

    folder: Path
    is_done: bool = False


@contextmanager
def claimed(parent: Path, name: str, runtime: Runtime) -> Iterator[Scratch]:
    """The first of the folders `name`, `name.1`, ... in which no live process works, with what an earlier call left.

    When the job is done, what others left of it goes too.
    """
    number, hold = _first(parent, name) if runtime.is_main else (0, None)
    number = runtime.gather_objects(number)[0]
    scratch = Scratch(_place(parent, name, number))
    scratch.folder.mkdir(parents=True, exist_ok=True)
    try:
        yield scratch
    finally:
        if hold:
            _end(hold, scratch.is_done)
            for other in range(number if scratch.is_done else 0):
                _sweep(_place(parent, name, other))
            for other in count(number + 1) if scratch.is_done else ():
                if not _sweep(_place(parent, name, other)):
                    break


def _place(parent: Path, name: str, number: int) -> Path:
    return parent / (f"{name}.{number}" if number else name)


def _first(parent: Path, name: str) -> tuple[int, Hold]:
    return next((i, hold) for i in count() if (hold := locks.take(_place(parent, name, i) / LOCK)))


def _sweep(folder: Path) -> bool:
    """Remove what a process that is gone left; whether there was anything to look at."""
    if not folder.is_dir():
        return False
    if hold := locks.take(folder / LOCK):
        _end(hold, True)
    return True


def _end(hold: Hold, is_done: bool) -> None:
    """Give a folder up; its lock goes last, so that nobody who takes it loses anything of his."""
    if not is_done:
        hold.release()
        return
    for path in hold.path.parent.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    hold.remove()
    with suppress(OSError):
        hold.path.parent.rmdir()
