"""The annotations of a file as the objects of its images, checked one by one and packed."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from transferbench.data.coco_format.categories import Categories
from transferbench.data.coco_format.images import CocoImage
from transferbench.data.coco_format.masks import mask_of, within
from transferbench.data.coco_format.values import EntryError, flag, identifier, real, required, shown
from transferbench.data.packing import Annotation, Packed
from transferbench.errors import UserError


class Known(NamedTuple):
    """What annotations refer to: the class of each category, and the size of each image."""

    labels: Mapping[int | str, int]
    sizes: Mapping[int | str, tuple[int, int]]


def objects_of(
    name: str, entries: list[Any], images: Sequence[CocoImage], categories: Categories
) -> tuple[Packed, list[str]]:
    """The objects of each image in the order of the file, and what is said of them. `entries` is emptied.

    Raises:
        UserError: naming the first annotation that cannot be used.
    """
    count, notes = len(entries), []
    repeats = _repeats(name, entries)
    known = Known({each: i for i, each in enumerate(categories.ids)}, {each.key: each.size for each in images})
    objects: dict[int | str, list[Annotation]] = defaultdict(list)
    unusable: list[str] = []
    entries.reverse()
    for place in range(count):
        entry = entries.pop()  # each is forgotten when it is packed
        if place in repeats:
            continue
        try:
            image, annotation = _object(entry, known)
        except EntryError as fault:
            raise UserError(f"{name}: {_called(entry, place)} {fault}. {_ids(fault, categories)}") from None
        objects[image].append(annotation)
        unusable += [_called(entry, place)] if annotation.mask == [] else []
    if repeats:
        notes.append(f"{name}: {len(repeats)} of the {count} annotations repeat another and are left out.")
    if unusable:
        notes.append(
            f"{name}: {len(unusable)} of the {count} objects have no outline of three corners (first: {unusable[0]}). "
            "As in Detectron2 they are not trained on; their boxes are judged, their masks are not."
        )
    return Packed(objects.pop(each.key, []) for each in images), notes


class UnlistedError(EntryError):
    """An annotation of a category that is not listed."""


def _ids(fault: EntryError, categories: Categories) -> str:
    if not isinstance(fault, UnlistedError):
        return "Correct the file."
    return f"Category ids there: {', '.join(map(str, categories.ids[:10]))}{' ...' * (len(categories.ids) > 10)}."


def _repeats(name: str, entries: Sequence[Any]) -> set[int]:
    """The places of annotations that say again what one with their id said before.

    Raises:
        UserError: for one that says another thing under the same id.
    """
    ids = [_id(each) for each in entries]
    several = {each for each, count in Counter(ids).items() if count > 1 and each is not None}
    first: dict[int | str, Any] = {}
    repeats: set[int] = set()
    for place, (number, entry) in enumerate(zip(ids, entries, strict=True)) if several else ():
        if number not in several or number is None:
            continue
        if first.setdefault(number, entry) is entry:
            continue
        if first[number] != entry:
            raise UserError(
                f"{name}: two different annotations have the id {shown(number)}. Expected unique ids; number them anew."
            )
        repeats.add(place)
    return repeats


def _id(entry: Any) -> int | str | None:
    number = entry.get("id") if isinstance(entry, dict) else None
    return number if isinstance(number, int | str) else None


def _called(entry: Any, place: int) -> str:
    is_numbered = isinstance(entry, dict) and entry.get("id") is not None
    return f"annotation {shown(entry['id'])}" if is_numbered else f"annotation number {place + 1} (without id)"


def _object(entry: Any, known: Known) -> tuple[int | str, Annotation]:
    """The image an annotation is of, by its key, and the object."""
    if not isinstance(entry, dict):
        raise EntryError(f"is {shown(entry)}; expected {{image_id, category_id, bbox, ...}}")
    image, category = identifier(entry, "image_id"), identifier(entry, "category_id")
    if category not in known.labels or image not in known.sizes:
        kind = "image" if category in known.labels else "category"
        raise UnlistedError(
            f"is of category {shown(entry['category_id'])} in image {shown(entry['image_id'])}, and its lists have no "
            f"such {kind}"
        )
    if flag(entry, "ignore"):
        raise EntryError("is marked to be ignored, which Detectron2 refuses too; leave it out or mark it iscrowd")
    size, area = known.sizes[image], entry.get("area")
    area = None if area is None else real(area, "area")
    if area is not None and area < 0:
        raise EntryError(f"has the area {area:g}; expected no negative one")
    mask: Any = mask_of(entry, size)
    return image, Annotation(_box(entry, size), known.labels[category], mask, area, flag(entry, "iscrowd"))


def _box(entry: Mapping[str, Any], size: tuple[int, int]) -> tuple[float, float, float, float]:
    box = required(entry, "bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise EntryError(f"has the bbox {shown(box)}; expected [x, y, width, height]")
    x, y, width, height = (real(value, "bbox") for value in box)
    if width < 0 or height < 0:
        raise EntryError(f"has the bbox {shown(box)}; expected a width and height that are not negative")
    within(min(x, y), max(x + width, y + height), size, "bbox")
    return x, y, width, height
