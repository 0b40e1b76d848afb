"""`classes.json`, in which a person says what the numbers or colors of label maps stand for.

Either a list of names, in the order of their numbers from 0:

    ["background", "road", "car"]

or, for masks in color, a list of names with colors; an entry without a name is a color of pixels that do not count:

    [{"name": "road", "color": [128, 64, 128]}, {"name": "car", "color": [0, 0, 142]}, {"color": [0, 0, 0]}]
"""

import json
from typing import Any, NamedTuple

from transferbench.data.mask_files import Color
from transferbench.errors import UserError

FILE = "classes.json"
NONE = 255
"""What the maps hold where there is no class (`LabelRule.ignore_index`)."""
EXPECTED = (
    'Expected a list of names in the order of their numbers, ["background", "car"], or for masks in color '
    '[{"name": "car", "color": [0, 0, 142]}, {"color": [0, 0, 0]}], where no name means that the color does not count.'
)


class ClassList(NamedTuple):
    """The names of classes, and for masks in color the number that each color stands for."""

    classes: tuple[str, ...]
    colors: dict[Color, int] | None = None


def class_list(content: bytes, where: str) -> ClassList:
    """What a `classes.json` says; `where` is its path, for messages.

    Raises:
        UserError: when it is no such list, a name or a color stands there twice, or there are too many for a map.
    """
    try:
        entries = json.loads(content)
    except ValueError as error:
        raise UserError(f"{where} cannot be read as JSON: {error}. {EXPECTED}") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{where} holds {_short(entries)}. {EXPECTED}")
    is_colored = isinstance(entries[0], dict)
    for i, entry in enumerate(entries):
        if not (_is_colored(entry) if is_colored else isinstance(entry, str) and entry):
            raise UserError(f"{where}: entry {i} is {_short(entry)}. {EXPECTED}")
    names = [entry["name"] for entry in entries if "name" in entry] if is_colored else entries
    _require_once(names, where)
    if not is_colored:
        return ClassList(tuple(names))
    _require_once([entry["color"] for entry in entries], where)
    if not 0 < len(names) <= NONE:
        raise UserError(f"{where} names {len(names)} colors. Expected 1 to {NONE}: {NONE} stands for no class.")
    number = {name: i for i, name in enumerate(names)}
    colors = {tuple(entry["color"]): number.get(entry.get("name"), NONE) for entry in entries}
    return ClassList(tuple(names), colors)


def _is_colored(entry: Any) -> bool:
    if not isinstance(entry, dict) or not {"color"} <= set(entry) <= {"name", "color"}:
        return False
    color, name = entry["color"], entry.get("name", "none")
    is_color = isinstance(color, list) and len(color) == 3 and all(type(v) is int and 0 <= v < 256 for v in color)
    return is_color and isinstance(name, str) and bool(name)


def _require_once(values: list[Any], where: str) -> None:
    seen: list[Any] = []
    for value in values:
        if value in seen:
            raise UserError(f"{where} lists {value!r} twice. Expected each name and color once.")
        seen.append(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
