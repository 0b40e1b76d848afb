"""The pixels of an image file: those PIL gives, by the fastest decoder that is installed."""

import io
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile


def pixels(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """The image as RGB; a JPEG in color that PIL has opened and not yet decoded is left to simplejpeg.

    Not one in CMYK, which simplejpeg turns into other colors.

    Raises:
        OSError, ValueError, SyntaxError: what PIL's decoder raises.
    """
    quick = _by_simplejpeg(image) if type(image) is JpegImageFile and image.mode == "RGB" and _is_pils() else None
    return np.array(image.convert("RGB")) if quick is None else quick


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What shows an image upright, by its EXIF orientation."""


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, from 1 to 8; 1, upright, where there is none or none that can be read."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block can raise anything, and the pixels are whole
        return 1
    return found if found in TURNS else 1


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says, as Detectron2 reads images."""
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def _by_simplejpeg(image: JpegImageFile) -> UInt8[np.ndarray, "h w 3"] | None:
    """None where PIL is to decide what becomes of the image: decoded before, to be scaled, or not without a fault."""
    import simplejpeg

    if image.fp is None or image.decoderconfig:
        return None
    image.fp.seek(0)
    try:
        return simplejpeg.decode_jpeg(image.fp.read(), strict=True)
    except ValueError:
        return None


@cache
def _is_pils() -> bool:
    """Whether simplejpeg is there and decodes as the library that this PIL was built with."""
    if not find_spec("simplejpeg"):
        return False
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    return all(_agree(noise, subsampling=subsampling) for subsampling in range(3))


def _agree(image: Image.Image, **options: Any) -> bool:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    with Image.open(file) as opened:
        quick = _by_simplejpeg(opened) if isinstance(opened, JpegImageFile) else None
        return quick is not None and np.array_equal(quick, np.asarray(opened))
