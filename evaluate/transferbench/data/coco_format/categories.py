"""The categories that an annotation file lists, and the classes they become."""

from collections import Counter
from typing import Any, NamedTuple

from transferbench.data.coco_format.values import EntryError, identifier, required, shown, text
from transferbench.errors import UserError

MOST = 20_000
"""Categories that a detector is built for: its last layer has five outputs for each. LVIS has 1,203, V3Det 13,204."""
LARGEST = 2**31
"""Ids lie below it: COCO's tools hold them in 32 bits."""


class Categories(NamedTuple):
    """Ids in order, and the class of each."""

    ids: tuple[int, ...]
    classes: tuple[str, ...]


def categories_of(name: str, entries: list[Any]) -> Categories:
    """The categories in the order of their ids. Several of one name are told apart by their ids.

    Raises:
        UserError: naming the first that cannot be used, or that has the id of another.
    """
    if len(entries) > MOST:
        raise UserError(f"{name} lists {len(entries)} categories. Expected at most {MOST}.")
    names: dict[int, str] = {}
    for place, entry in enumerate(entries):
        try:
            number, title = _category(entry)
            if number in names:
                raise EntryError(f"{title} has the id of another, {names[number]}")
            names[number] = title
        except EntryError as fault:
            shown_id = shown(entry.get("id")) if isinstance(entry, dict) and "id" in entry else f"number {place + 1}"
            raise UserError(f"{name}: category {shown_id} {fault}. Correct the file.") from None
    ids = tuple(sorted(names))
    often = Counter(names.values())
    return Categories(ids, tuple(names[i] if often[names[i]] == 1 else f"{names[i]} ({i})" for i in ids))


def _category(entry: Any) -> tuple[int, str]:
    if not isinstance(entry, dict):
        raise EntryError(f"is {shown(entry)}; expected {{id, name}}")
    number = identifier(entry, "id")
    if isinstance(number, str) or not -LARGEST <= number < LARGEST:
        raise EntryError("has an id that is no whole number of 32 bits")
    name = required(entry, "name")
    return number, str(name) if isinstance(name, int) else text(entry, "name")
