"""Asynchronous checkpointing: the last few states, written while training continues; the newest intact one is found."""

import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transferbench import state
from transferbench.errors import UserError

PATTERN = "state-*.safetensors"
SET_ASIDE = ".broken"
EARLIER = "state.safetensors"
"""What versions that kept one state, without a checksum, called it."""

Say = Callable[[str], None]


class States:
    """Writes states into a run's folder one at a time, each in a thread of its own, and keeps the newest ones.

    What goes wrong in a thread is raised by the next call. A process that leaves without `wait` loses at most the state
    being written, for a file takes its name only when it is whole.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a state is being written."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, step: int, tree: Mapping[str, Any], not_finite: Callable[[], Exception]) -> None:
        """Copy the state as it is now, and begin to write it; `not_finite` is raised in place of keeping such a one."""
        self.wait()
        snapshot = state.Snapshot(tree)
        self._thread = threading.Thread(target=self._keep, args=(step, snapshot, not_finite), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when the state being written is on the disk.

        Raises:
            UserError: when it could not be written, or was not finite.
        """
        self.close()
        self.check()

    def check(self) -> None:
        """Raise what went wrong in the thread, if something did."""
        error, self._error = self._error, None
        if error:
            raise error

    def close(self) -> None:
        """Like `wait`, but errors are not raised."""
        if self._thread:
            self._thread.join()

    def _keep(self, step: int, snapshot: state.Snapshot, not_finite: Callable[[], Exception]) -> None:
        try:
            if not snapshot.is_finite():
                raise not_finite()
            self._write(self.folder / PATTERN.replace("*", f"{step:08d}"), snapshot)
            for path in paths(self.folder)[self.keep :]:
                path.unlink(missing_ok=True)
        except Exception as error:
            self._error = error

    def _write(self, path: Path, snapshot: state.Snapshot) -> None:
        try:
            snapshot.write(path)
        except OSError as error:
            raise unwritten(path, error, f"A state takes {snapshot.size / 2**20:.1f} MiB, ") from None


def unwritten(path: Path, error: OSError, need: str = "") -> UserError:
    """What to say of a file in a run's folder that could not be written."""
    free = shutil.disk_usage(path.parent).free
    kept = ", ".join(each.name for each in paths(path.parent)) or "none yet"
    return UserError(
        f"Cannot write {path}: {error.strerror or error}. {need}{free / 2**20:.1f} MiB are free there. Intact states: "
        f"{kept}. Free some space and continue with --resume."
    )


def paths(folder: Path) -> list[Path]:
    """The states in a run's folder, newest first."""
    return sorted(folder.glob(PATTERN), reverse=True)


def newest(folder: Path, say: Say = lambda message: None) -> Path | None:
    """The newest whole state; newer ones that are broken are set aside, and `say` is told. None where there is none.

    What a kill left of a state being written is removed.

    Raises:
        UserError: when there are states and none is whole, or only one that an earlier version wrote.
    """
    for left in folder.glob(f".{PATTERN}.*"):
        left.unlink(missing_ok=True)
    broken: list[Path] = []
    for path in paths(folder):
        try:
            state.load(path)
        except state.BrokenStateError as error:
            broken.append(path)
            say(str(error).partition(" Remove")[0])
            continue
        for each in broken:
            each.rename(each.with_name(each.name + SET_ASIDE))
            say(f"Resuming from {path.name} instead; the damaged one was renamed to {each.name}{SET_ASIDE}.")
        return path
    if broken:
        names = ", ".join(path.name for path in broken)
        raise UserError(
            f"Every state in {folder} is damaged: {names}. Restore a copy of one, or start again with another --out."
        )
    if (folder / EARLIER).exists():
        raise UserError(
            f"{folder / EARLIER} was saved by an earlier version. This one reads {PATTERN} and could not continue "
            f"exactly as that one would have. Resume with the version that {folder / 'environment.json'} names, or "
            "start again with another --out."
        )
    return None
