"""Where a setting was written: which file and line, or on the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

OPTION = "--set"
Location = Sequence[int | str]
"""The way to a value through mappings and lists."""


@dataclass(frozen=True)
class SettingsSource:
    """What settings were read from.

    Attributes:
        files: each laid over the next one.
        overrides: `a.b=v`, laid over all files.
        under: where in the files these settings begin.
    """

    files: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()
    under: tuple[int | str, ...] = ()

    @property
    def name(self) -> str:
        """The first file, or `settings`."""
        return str(self.files[0]) if self.files else "settings"

    def place(self, location: Location) -> str:
        """` (line 3)` of the first file, ` (FILE, line 3)` of another, ` (--set)`; empty where it is not known."""
        given = [override.partition("=")[0].split(".") for override in self.overrides]
        if any(list(map(str, location[: len(path)])) == path for path in given):
            return f" ({OPTION})"
        for i, path in enumerate(self.files):
            line = line_of(path, [*self.under, *location])
            if line:
                return f" ({path}, line {line})" if i else f" (line {line})"
        return ""


def line_of(path: Path, location: Location) -> int | None:
    """The line, from 1, of what stands at `location` in a YAML or JSON file; None where nothing does."""
    try:
        node = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if pairs:
                line, node = pairs[-1][0].start_mark.line + 1, pairs[-1][1]
            elif not any(value.value == part for _, value in node.value):  # pydantic names the kind of an alternative
                return None
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
