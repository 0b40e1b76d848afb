"""What the cache holds of features and neighbors, and what of it may go."""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("features", "neighbours")
CALLS = "call-*"
"""Where the features of one call lay that was killed; a live one's are in use."""
RECENT = 3600.0
"""Seconds for which everything stays that was used: an evaluation that is going on may be about to read it."""
DAY = 86_400.0


@dataclass(frozen=True)
class CacheEntry:
    """What was computed at once: its files, the note that proves them whole first; bytes; when it was last used."""

    paths: tuple[Path, ...]
    size: int
    used: float


def entries(cache: Path) -> list[CacheEntry]:
    """Everything in the cache that can be computed again, the least recently used first."""
    groups: dict[Path, list[Path]] = {}
    for path in (path for name in FOLDERS for path in (cache / name).glob("*") if path.is_file()):
        groups.setdefault(path.with_name(path.name.lstrip(".").partition(".")[0]), []).append(path)
    for folder in cache.glob(CALLS):
        groups[folder] = [folder]
    listed = (_entry(sorted(paths, key=lambda path: path.suffix != ".json")) for paths in groups.values())
    return sorted(listed, key=lambda entry: (entry.used, entry.paths))


def prune(cache: Path, older: float | None, most: float | None, now: float | None = None) -> list[CacheEntry]:
    """Remove what was not used for more than `older` days, then the least recently used beyond `most` bytes.

    What was used within the hour stays, whatever its size. Returns what went.

    Raises:
        OSError: when it cannot be removed.
    """
    now = time.time() if now is None else now
    kept, gone = entries(cache), list[CacheEntry]()
    size = total(kept)
    for entry in kept:
        age = now - entry.used
        if age > RECENT and ((older is not None and age > older * DAY) or (most is not None and size > most)):
            for path in entry.paths:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            gone.append(entry)
            size -= entry.size
    return gone


def total(listed: Sequence[CacheEntry]) -> int:
    """Bytes of entries."""
    return sum(entry.size for entry in listed)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    return sum(stat.st_size for stat in _stats([folder]))


def touch(path: Path) -> None:
    """Note that a file was used now, where it can be noted."""
    with suppress(OSError):
        os.utime(path)


def _entry(paths: list[Path]) -> CacheEntry:
    stats = _stats(paths)
    return CacheEntry(
        tuple(paths), sum(each.st_size for each in stats), max((each.st_mtime for each in stats), default=0.0)
    )


def _stats(paths: Sequence[Path]) -> list[os.stat_result]:
    """Of files, and of all files below folders; without those that another process takes away meanwhile."""
    stats: list[os.stat_result] = []
    for path in paths:
        below = (Path(root, name) for root, _, names in os.walk(path) for name in names) if path.is_dir() else [path]
        for each in below:
            with suppress(FileNotFoundError):
                stats.append(each.lstat())
    return stats
