"""Invalid settings, explained: what was found, where it was written, and what was probably meant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from transferbench.fields import Branches, suggestion
from transferbench.origins import OPTION, SettingsSource


@dataclass(frozen=True)
class Misfit:
    """One of them: its place, pydantic's kind of error, what was found and why it does not fit."""

    location: tuple[int | str, ...]
    kind: str
    value: Any
    reason: str


def explained(model: type[BaseModel], misfits: Sequence[Misfit], origin: SettingsSource, branches: Branches) -> str:
    """A line for each, below one that names the file, or the option where all were written there."""
    places = [origin.place(each.location) for each in misfits]
    lines = [f"{len(misfits)} invalid setting(s) in {OPTION if set(places) == {f' ({OPTION})'} else origin.name}:"]
    for each, place in zip(misfits, places, strict=True):
        where = ".".join(map(str, each.location))
        if each.kind == "extra_forbidden":
            lines.append(f"  {where}: no such setting.{suggestion(model, each.location, branches)}{place}")
        elif each.kind == "missing":
            lines.append(f"  {where}: missing, and there is no default.{place}")
        else:
            lines.append(f"  {where or '(all)'}: found {each.value!r}; {each.reason}{place}")
    return "\n".join(lines)
