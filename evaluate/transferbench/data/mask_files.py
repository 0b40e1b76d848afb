"""The numbers in a PNG that holds a label map, as the file stores them; what stores none is refused with its reason.

Pillow alone decodes: torchvision's decoder misreads palettes of at most 16 colors. Pillow scales gray of 2 and 4 bits
to 0..255, and `convert("L")` gives a palette's brightness; both are undone or avoided here, by the PNG's own header.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

Color = tuple[int, int, int]
Numbers = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]

GRAY, RGB, PALETTE = 0, 2, 3
"""PNG's color types without alpha (its specification, under IHDR)."""
SCALE = {2: 85, 4: 17}
"""What Pillow multiplies gray levels of so many bits by."""
EXPECTED = (
    "Expected a PNG without transparency: palette or gray, its numbers the classes, or of the colors that a "
    "classes.json lists"
)
LOSSY = {
    "JPEG": "whose compression changes numbers",
    "MPO": "whose compression changes numbers",
    "WEBP": "which stores colors and no numbers, and mostly with loss",
    "GIF": "whose writers number the palette anew",
}
SHOWN = 5
"""Strange colors that a message names."""


class MaskError(ValueError):
    """A file that holds no label map."""


def numbers(image: Image.Image, colors: Mapping[Color, int] | None = None) -> Numbers:
    """The number of each pixel: a palette's index, a gray level unscaled, or what its color stands for.

    Args:
        image: opened by Pillow and not decoded.
        colors: what each color stands for, for images in color.

    Raises:
        MaskError: for what has none, a color that is not listed, or numbers where colors are listed.
        OSError, ValueError, SyntaxError: what Pillow's decoder raises.
    """
    if not isinstance(image, PngImageFile):
        kind = image.format or "file of no known format"
        raise MaskError(f"it is a {kind}, {LOSSY.get(kind, 'which is not read as one')}. {EXPECTED}")
    if getattr(image, "n_frames", 1) > 1:
        raise MaskError(f"it is animated. {EXPECTED}")
    bits, kind = _header(image)
    if kind == RGB and bits == 8:
        return _of_colors(np.array(image.convert("RGB")), colors)
    if kind == RGB:
        raise MaskError(f"it is in color with {bits} bits a channel, of which Pillow reads the upper 8. {EXPECTED}")
    if kind not in (GRAY, PALETTE):
        raise MaskError(f"it has an alpha channel, so that a color stands for no one class. {EXPECTED}")
    if colors:
        stored = "a palette's indices" if kind == PALETTE else "gray levels"
        raise MaskError(
            f"it holds {stored}, which classes.json gives no meaning: it lists colors. Save the mask in color, or list "
            "names alone, in the order of their numbers"
        )
    if bits == 16:
        return np.array(image).astype(np.uint16)
    values = np.array(image).astype(np.uint8)
    return values // SCALE[bits] if kind == GRAY and bits in SCALE else values


def _header(image: PngImageFile) -> tuple[int, int]:
    """Bits a sample and color type, which stand at bytes 24 and 25 of every PNG."""
    file = image.fp
    if file is None:
        raise MaskError("it is decoded already, and no longer says how it was stored")
    at = file.tell()
    file.seek(24)
    bits, kind = file.read(2)
    file.seek(at)
    return bits, kind


def _of_colors(pixels: UInt8[np.ndarray, "h w 3"], colors: Mapping[Color, int] | None) -> UInt8[np.ndarray, "h w"]:
    if not colors:
        raise MaskError(f"it is in color, and nothing says what its colors stand for. {EXPECTED}")
    wide = pixels.astype(np.int32)
    codes = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    listed = sorted((r << 16 | g << 8 | b, number) for (r, g, b), number in colors.items())
    keys, values = (np.array(column) for column in zip(*listed, strict=True))
    places = np.searchsorted(keys, codes).clip(max=len(keys) - 1)
    if (strange := keys[places] != codes).any():
        found = [str([code >> 16, code >> 8 & 255, code & 255]) for code in np.unique(codes[strange]).tolist()]
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise MaskError(f"it has {', '.join(found[:SHOWN])}{more}, which classes.json does not list")
    return values[places].astype(np.uint8)
