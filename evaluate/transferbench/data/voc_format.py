"""PASCAL VOC's annotation of an image, checked object by object."""

import math
import xml.etree.ElementTree as ET

VocObject = tuple[str, tuple[float, float, float, float], bool]
"""Class, corners with the upper left one counted from 0, and whether it is marked difficult."""

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = {"0": False, "1": True, "false": False, "true": True, "unspecified": False}
"""What `difficult` is written as."""
FAR = 10
"""How many times the image's longer side a corner may lie outside."""


def read(content: bytes) -> tuple[tuple[int, int], list[VocObject]]:
    """Height and width of the image, and its objects.

    Raises:
        ValueError: saying what cannot be used, and of which object.
    """
    try:
        tree = ET.fromstring(content)
    except ET.ParseError as error:
        raise ValueError(f"it is no XML ({error})") from None
    size = _side(tree, "height"), _side(tree, "width")
    return size, [_object(each, place, size) for place, each in enumerate(tree.iter("object"), 1)]


def _side(tree: ET.Element, name: str) -> int:
    text = (tree.findtext(f"size/{name}") or "").strip()
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"<size> states the {name} '{text}', where whole pixels of the image are expected, at least 1")
    return int(text)


def _object(element: ET.Element, place: int, size: tuple[int, int]) -> VocObject:
    name = _text(element, "name", place)
    x0, y0, x1, y1 = (_number(element, corner, place) for corner in CORNERS)
    if x0 > x1 or y0 > y1:
        raise ValueError(f"object {place} ({name}) has the corners {x0:g} {y0:g} {x1:g} {y1:g}, the lower right first")
    if max(abs(each) for each in (x0, y0, x1, y1)) > FAR * max(size):
        raise ValueError(
            f"object {place} ({name}) has the corners {x0:g} {y0:g} {x1:g} {y1:g} in an image of {size[1]} x {size[0]}"
        )
    difficult = (element.findtext("difficult") or "0").strip()
    if difficult.lower() not in FLAGS:
        raise ValueError(f"object {place} ({name}) has <difficult> '{difficult}', where 0 or 1 is expected")
    return name, (x0 - 1, y0 - 1, x1, y1), FLAGS[difficult.lower()]


def _text(element: ET.Element, name: str, place: int) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise ValueError(f"object {place} is without <{name}>")
    return text


def _number(element: ET.Element, corner: str, place: int) -> float:
    text = _text(element, f"bndbox/{corner}", place)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"object {place} has the {corner} '{text}', which is no number of pixels")
    return number
