"""An image as people's own code hands it over, made one of PIL's: its values are taken as they are, or refused."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image
from torch import Tensor

from transferbench.data import decoding
from transferbench.errors import UserError

OVERSHOOT = 1e-5
"""What a float may lie outside of [0, 1] by: the error of arithmetic, and no normalization."""
EXPECTED = "Expected an image of PIL's, a tensor (c h w) or an array (h w c), uint8 or float from 0 to 1"


class LiveImage(NamedTuple):
    """An image, RGB but where it has more than 8 bits a channel, and how it was come by.

    `top` is the largest value as a share of white, `moved` by how many of 255 levels rounding moved a value at most;
    both are None for an image of PIL's.
    """

    image: Image.Image
    top: float | None = None
    moved: float | None = None


def picture(item: Any, where: str) -> LiveImage:
    """The image that an item is.

    Args:
        item: an image of PIL's; a tensor `c h w` or `h w`; an array `h w c` or `h w`. One channel or three, uint8, or
            float from 0 (black) to 1 (white), which is rounded to 8 bits.
        where: what messages call it.

    Raises:
        UserError: for anything else, with what it is.
    """
    if isinstance(item, Image.Image):
        return LiveImage(_of_pil(item, where))
    if not isinstance(item, Tensor | np.ndarray):
        raise UserError(f"{where} is a {type(item).__name__}. {EXPECTED}.")
    is_tensor = isinstance(item, Tensor)
    if is_tensor:
        host = item.detach().cpu()
        item = (host.float() if host.is_floating_point() else host).numpy()
    pixels, top, moved = _levels(_channels_last(item, is_tensor, where), where)
    return LiveImage(Image.fromarray(pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, 2)), top, moved)


def mark(image: Image.Image) -> bytes:
    """sha256 of the pixels, with size and mode."""
    return hashlib.sha256(f"{image.mode} {image.width} {image.height}\0".encode() + image.tobytes()).digest()


def _of_pil(image: Image.Image, where: str) -> Image.Image:
    """RGB; an image of one channel with more bits stays as it is, for somebody to say what is black and white in it."""
    try:
        if decoding.checked(image).mode in ("I", "F") or image.mode.startswith("I;16"):
            return image.copy()
        return decoding.plain(image).convert("RGB")
    except decoding.ImageRangeError:
        raise UserError(f"{where} is in color with 16 bits a channel. Convert it to 8 bits.") from None
    except decoding.UNREADABLE as error:
        raise UserError(f"{where} cannot be decoded: {decoding.why_undecodable(error)}. Repair or remove it.") from None


def _channels_last(item: Shaped[np.ndarray, "..."], is_tensor: bool, where: str) -> Shaped[np.ndarray, "h w c"]:
    shape = list(item.shape)
    found, order = f"{where} is {'a tensor' if is_tensor else 'an array'} {shape}", "c h w" if is_tensor else "h w c"
    if item.ndim not in (2, 3) or 0 in shape:
        raise UserError(f"{found}. Expected one image, {order} or h w.")
    if item.ndim == 2:
        return item[:, :, None]
    image = np.moveaxis(item, 0, -1) if is_tensor else item
    channels, other = image.shape[2], shape[2] if is_tensor else shape[0]
    if channels in (1, 3):
        return image
    turn = "permute(2, 0, 1)" if is_tensor else "transpose(1, 2, 0)"
    cure = f"Turn it with {turn}." if other in (1, 3) else "Keep the three of color, or one of gray."
    raise UserError(f"{found}, {channels} channels where {order} is expected with 1 or 3. {cure}")


def _levels(image: Shaped[np.ndarray, "h w c"], where: str) -> tuple[UInt8[np.ndarray, "h w c"], float, float]:
    """The values in 255 levels, with `top` and `moved`."""
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image), int(image.max()) / 255, 0.0
    if image.dtype.kind != "f":
        raise UserError(f"{where} holds {image.dtype}. Expected uint8 from 0 to 255, or float from 0 to 1.")
    values = image.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        raise UserError(f"{where} has values that are not finite. Expected float from 0 to 1.")
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        cure = (
            "Values to 255 are handed over as uint8"
            if low >= 0 and 1 < high <= 255
            else "Leave out the normalization: each model brings its own, and preprocess= states one"
        )
        raise UserError(f"{where} has values from {low:.4g} to {high:.4g}. Expected float from 0 to 1. {cure}.")
    levels = values.clip(0, 1) * 255
    rounded = np.rint(levels)
    return rounded.astype(np.uint8), high, float(np.abs(levels - rounded).max())
