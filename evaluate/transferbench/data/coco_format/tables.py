"""An annotation file as three checked tables: images, categories and the objects of each image."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transferbench.data.coco_format.categories import Categories, categories_of
from transferbench.data.coco_format.images import CocoImage, images_of
from transferbench.data.coco_format.masks import compact
from transferbench.data.coco_format.objects import objects_of
from transferbench.data.packing import Packed
from transferbench.errors import UserError

KINDS = ("images", "annotations", "categories")


@dataclass
class CocoFile:
    """One annotation file.

    Attributes:
        name: as messages call it.
        sha256: of its bytes.
        images: in the order of the file, without repeats.
        categories: in the order of their ids.
        notes: what was left out.
    """

    name: str
    sha256: bytes
    images: list[CocoImage]
    categories: Categories
    notes: list[str]
    _entries: list[Any] = field(repr=False)

    def objects(self) -> Packed:
        """The objects of each image, once: the file's entries are forgotten as they are packed.

        Raises:
            UserError: naming the first annotation that cannot be used.
        """
        packed, notes = objects_of(self.name, self._entries, self.images, self.categories)
        self.notes += notes
        return packed


def read(content: Callable[[], bytes], name: str) -> CocoFile:
    """The tables in an annotation file; only what is needed further is held, for files of 500 MB.

    Raises:
        UserError: when it is not in COCO's format, or an image or a category cannot be used.
    """
    tables, mark = _tables(content, name)
    notes: list[str] = []
    images = images_of(name, tables["images"], notes)
    categories = categories_of(name, tables["categories"])
    if not tables["annotations"]:
        raise UserError(
            f"{name} annotates none of its {len(images)} images, so that nothing can be learned from it or judged by "
            "it. Expected annotations; those of COCO's test images are not published. To be judged on another split "
            "move the file away."
        )
    return CocoFile(name, mark, images, categories, notes, tables["annotations"])


def _tables(content: Callable[[], bytes], name: str) -> tuple[Mapping[str, list[Any]], bytes]:
    raw = content()
    mark = hashlib.sha256(raw).digest()
    try:
        text = raw.decode(json.detect_encoding(raw))
        del raw
        tables = json.loads(text, object_hook=compact)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} cannot be read as JSON: {error}.") from None
    if not isinstance(tables, dict) or not all(isinstance(tables.get(kind), list) for kind in KINDS):
        raise UserError(f"{name} is not in COCO's format: expected the lists {', '.join(KINDS)}.")
    if not tables["images"] or not tables["categories"]:
        raise UserError(f"{name} lists no images or no categories.")
    return tables, mark
