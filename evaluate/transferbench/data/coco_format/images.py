"""The images that an annotation file lists."""

from typing import Any, NamedTuple

from transferbench.data.coco_format.values import EntryError, identifier, shown, side, text
from transferbench.errors import UserError


class CocoImage(NamedTuple):
    """One image.

    Attributes:
        key: its id, equal whether it is written as a number or as text.
        id: as the file writes it.
        file: its name.
        size: height and width in pixels.
    """

    key: int | str
    id: int | str
    file: str
    size: tuple[int, int]


def images_of(name: str, entries: list[Any], notes: list[str]) -> list[CocoImage]:
    """The images, each once; a repeat that says the same is left out, and `notes` says so.

    Raises:
        UserError: naming the first that cannot be used, or that says another thing under the same id.
    """
    by_key: dict[int | str, CocoImage] = {}
    files: dict[str, CocoImage] = {}
    repeated: list[CocoImage] = []
    for place, entry in enumerate(entries):
        try:
            image = _image(entry)
            first = by_key.get(image.key)
            if first is None:
                by_key[image.key] = image
                if (other := files.setdefault(image.file, image)) is not image:
                    raise EntryError(f"is {image.file}, as image {shown(other.id)} is; expected one entry for a file")
            elif (first.file, first.size) == (image.file, image.size):
                repeated.append(image)
            else:
                raise EntryError(
                    f"is {image.file}, and of the same id is {first.file} in {first.size[1]} x {first.size[0]}"
                )
        except EntryError as fault:
            number = shown(entry.get("id")) if isinstance(entry, dict) and "id" in entry else f"number {place + 1}"
            raise UserError(f"{name}: image {number} {fault}. Correct the file.") from None
    if repeated:
        notes.append(
            f"{name}: {len(repeated)} of the {len(entries)} image entries repeat another (first: image "
            f"{shown(repeated[0].id)}) and are left out."
        )
    return list(by_key.values())


def _image(entry: Any) -> CocoImage:
    if not isinstance(entry, dict):
        raise EntryError(f"is {shown(entry)}; expected {{id, file_name, height, width}}")
    key, file = identifier(entry, "id"), text(entry, "file_name")
    is_text = isinstance(entry["id"], str)
    return CocoImage(key, entry["id"] if is_text else key, file, (side(entry, "height"), side(entry, "width")))
