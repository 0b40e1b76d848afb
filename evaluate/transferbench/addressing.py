"""Which job of a suite an override is for: `JOB.KEY=VALUE`, or `KEY=VALUE` where there is only one."""

from collections.abc import Collection, Iterable
from typing import Protocol, runtime_checkable

from transferbench.errors import UserError, nearest
from transferbench.registries import TASKS
from transferbench.settings import parse_override


@runtime_checkable
class Addressable(Protocol):
    """A job that an override can name."""

    @property
    def id(self) -> str:
        """The job's name."""
        ...

    @property
    def task(self) -> str:
        """The name of its task."""
        ...

    def rest(self, override: str) -> str | None:
        """The override without this job's name in front; None where it begins otherwise."""
        ...


def addressed(overrides: Iterable[str], entries: Collection[Addressable]) -> list[str]:
    """The overrides with the name of the job in front where there is only one and it was left out."""
    if len({entry.id for entry in entries}) != 1:
        return list(overrides)
    only = next(iter(entries))
    return [f"{only.id}.{each}" if _is_bare(each, only) else each for each in overrides]


def _is_bare(override: str, entry: Addressable) -> bool:
    path, _ = parse_override(override)
    return entry.rest(override) is None and (len(path) == 1 or path[0] in _settings_of(entry))


def unreachable(override: str, entries: Collection[Addressable]) -> list[str]:
    """Why an override reaches none of the jobs; empty when it reaches one."""
    path, _ = parse_override(override)
    known = sorted({name for entry in entries for name in (entry.id, entry.task)})
    if len(path) < 2:
        having = sorted({entry.id for entry in entries if path[0] in _settings_of(entry)})
        if having:
            return [f"--set {override}: name the job it is for, JOB.{override}, with JOB one of {', '.join(having)}."]
        return [f"--set {override}: no job here has a setting '{path[0]}'. Expected JOB.KEY=VALUE: {', '.join(known)}."]
    if any(entry.rest(override) is not None for entry in entries):
        return []
    return [f"--set {override}: no job '{path[0]}' here.{nearest(path[0], known)} Jobs: {', '.join(known)}."]


def _settings_of(entry: Addressable) -> Collection[str]:
    try:
        config = TASKS.load(entry.task).Config
    except UserError:
        return ()
    return {*config.model_fields, *(["preset"] if config.PRESETS else [])}
