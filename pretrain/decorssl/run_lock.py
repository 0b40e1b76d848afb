"""One live run a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transferbench import locks, runtime
from transferbench.errors import UserError
from transferbench.locks import Hold

FILE = ".lock"


@contextmanager
def held(folder: Path, here: runtime.Runtime) -> Iterator[None]:
    """This run has the folder to itself inside the block.

    Raises:
        UserError: in every process, naming host and process of the live run that has it.
    """
    hold, problem = _taken(folder) if here.is_main else (None, "")
    if problem := here.gather_objects(problem)[0]:
        raise UserError(problem)
    try:
        yield
    finally:
        if hold:
            hold.remove()


def _taken(folder: Path) -> tuple[Hold | None, str]:
    """The lock, or why it cannot be had; neither where it is left over from an earlier start of the same job."""
    path = folder / FILE
    if hold := locks.take(path):
        hold.note(runtime.process_facts())
        return hold, ""
    other = locks.holder(path)
    if runtime.is_restart() and other.get("job") == runtime.process_facts()["job"] is not None:
        return None, ""
    pid, host, since = (other.get(name, "unknown") for name in ("pid", "host", "since"))
    return None, (
        f"A run is going on in {folder}: process {pid} on host {host}, since {since}. Wait for its end or stop it, or "
        f"choose another --out. If it is gone, remove {path}."
    )
