"""The pixels of an image file: those PIL gives, by the fastest decoder that is installed.

A file is held against a list of formats and a largest size before it is decoded. Images of 8 bits a channel are taken
as they are; of more bits nothing in the file says reliably what is black and what is white, so somebody has to.
"""

import io
import math
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from transferbench.errors import UserError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
"""What is decoded, by PIL's names. Others among PIL's run programs or parse much (EPS, PDF, FITS, WMF)."""
LARGEST = 2 * 89_478_485
"""Pixels of an image at most, as its header states them: where PIL gives up too."""
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What PIL raises for a damaged file, opening or decoding it."""

Range = tuple[float, float]
"""The values that are black and white."""


class ImageRangeError(ValueError):
    """An image of more than 8 bits a channel whose black and white nobody has stated, or stated otherwise."""


class ImageSizeError(ValueError):
    """An image of more than `LARGEST` pixels, as it is stored or as it is resized."""


def opened(content: bytes) -> Image.Image:
    """An encoded image, opened and not decoded.

    Raises:
        UnidentifiedImageError: for a file in none of `FORMATS`.
        OSError, ValueError, SyntaxError: what PIL raises.
    """
    return Image.open(io.BytesIO(content), formats=FORMATS)


def checked(image: Image.Image) -> Image.Image:
    """The image, if its format is one of `FORMATS` and its stated size is bearable; it is not decoded for that.

    Raises:
        ImageSizeError, UnidentifiedImageError: if not.
    """
    if image.format is not None and image.format not in (*FORMATS, "MPO"):  # PIL's name of some JPEGs
        raise UnidentifiedImageError(image.format)
    require_bearable(image.width, image.height)
    return image


def require_bearable(width: int, height: int, what: str = "is") -> None:
    """Refuse more than `LARGEST` pixels."""
    if width * height > LARGEST:
        raise ImageSizeError(f"it {what} {width} x {height} pixels, and more than {LARGEST:,} are not decoded")


def proper(image_range: Sequence[int | float]) -> Range:
    """The range, if it is one.

    Raises:
        UserError: when not.
    """
    low, high = image_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{low:.10g} to {high:.10g} is no image range. Expected black before white, such as 0 65535.")
    return float(low), float(high)


def why_undecodable(error: Exception) -> str:
    """Why an image cannot be decoded, for a sentence that names it."""
    if isinstance(error, UnidentifiedImageError):
        return f"in none of the formats that are read ({', '.join(FORMATS)})"
    if isinstance(error, Image.DecompressionBombError):
        return f"it states more than the {LARGEST:,} pixels that are decoded at most"
    return str(error) or type(error).__name__


def plain(image: Image.Image, image_range: Range | None = None) -> Image.Image:
    """The image with 8 bits a channel: itself, or what a gray one of more bits is scaled to.

    Args:
        image: of any mode.
        image_range: what is black and what is white in an image of more than 8 bits a channel. Values between are
            scaled and rounded, and none may lie outside.

    Raises:
        ImageRangeError: for an image of more bits without a range, or with values outside of it.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scaled(image, image_range)
    if _has_deep_color(image) and image_range != (0, 65535):
        raise ImageRangeError(
            "it is in color with 16 bits a channel, of which the upper 8 are read. Convert it to 8 bits, or say "
            "--image-range 0 65535 where the upper 8 are the picture"
        )
    return image


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
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block can raise anything, and the pixels are whole
        return 1
    return value if value in TURNS else 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """An image of an EXIF orientation upright, as Detectron2 reads images."""
    return image if orientation == 1 else image.transpose(TURNS[orientation])


def _has_deep_color(image: Image.Image) -> bool:
    """Whether PIL is about to drop the lower half of 16 bits a channel; BMP's `BGR;16` has 16 bits a pixel."""
    modes = [each.args if isinstance(each.args, str) else (each.args or ("",))[0] for each in _tiles(image)]
    return any(";16" in str(mode) and not str(mode).startswith("BGR") for mode in modes)


def _tiles(image: Image.Image) -> list[Any]:
    return getattr(image, "tile", [])


def _scaled(image: Image.Image, image_range: Range | None) -> Image.Image:
    values = np.asarray(image, np.float64)
    if image.format == "PPM" and image.mode == "I":  # its header states what is white, which PIL makes 65535
        image_range = 0, 65535
    least, most = float(values.min()), float(values.max())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ValueError("it has values that are not finite numbers")
    fault = f"it has more than 8 bits a channel, with values from {least:.10g} to {most:.10g}"
    if image_range is None:
        raise ImageRangeError(
            f"{fault}, and nothing says which are black and white. Say --image-range LOW HIGH, the same for all "
            "images of the data set, or convert them to 8 bits"
        )
    low, high = image_range
    if least < low or most > high:
        raise ImageRangeError(
            f"{fault}, outside the range of {low:.10g} to {high:.10g} that was stated. Say --image-range LOW HIGH that "
            "holds all values of the data set"
        )
    values = high - values if _is_negative(image) else values - low
    scaled = Image.fromarray(np.rint(values * 255 / (high - low)).astype(np.uint8))
    if (turned := image.getexif().get(ExifTags.Base.Orientation)) is not None:
        scaled.getexif()[ExifTags.Base.Orientation] = turned
    return scaled


def _is_negative(image: Image.Image) -> bool:
    """Whether a TIFF says that 0 is white, which PIL heeds in 8 bits alone."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    return tags.get(ExifTags.Base.PhotometricInterpretation) == 0


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
    opened = Image.open(file, formats=("JPEG",))
    quick = _by_simplejpeg(opened) if isinstance(opened, JpegImageFile) else None
    return quick is not None and np.array_equal(quick, np.asarray(opened))
