"""Colors of a batch, changed as PIL and torchvision change them; `factors` hold one number an image."""

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

Pixels = Float32[Tensor, "n 3 h w"]
Plane = Float32[Tensor, "n h w"]
Factors = Float64[Tensor, "n"]


def luminance(x: Pixels) -> Float32[Tensor, "n 1 h w"]:
    """ITU-R 601 luma in PIL's 16-bit fixed point."""
    red, green, blue = x.split(1, 1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536).floor_()


def brightness(x: Pixels, factors: Factors) -> Pixels:
    """Between black and the image, or beyond it."""
    return _blend(torch.zeros((), device=x.device), x, factors)


def contrast(x: Pixels, factors: Factors) -> Pixels:
    """Between the image's rounded mean luma and the image."""
    mean = luminance(x).mean((1, 2, 3), keepdim=True, dtype=torch.float64)
    return _blend((mean + 0.5).floor_().float(), x, factors)


def saturation(x: Pixels, factors: Factors) -> Pixels:
    """Between the luma and the image."""
    return _blend(luminance(x), x, factors)


def hue(x: Pixels, factors: Factors) -> Pixels:
    """The hue turned by a share of the circle, in PIL's HSV of 8 bits a channel.

    Source: Pillow's Convert.c (docs/protocols.md#pixels).
    """
    red, green, blue = x.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    turn = (factors * 255).trunc().float()[:, None, None]
    turned = _hue(value, spread, red, green, blue) + turn
    turned -= (turned / 256).floor_() * 256
    sixths = (turned.double() * 6 / 255).float()
    amount = (spread / value.clamp(min=1) * 255).floor_().div_(255)
    # How much of the saturation is taken off a channel: nothing at its own hue, all at the opposite.
    less_red = torch.minimum(sixths - 1, 5 - sixths)
    less_green = torch.maximum(1 - sixths, sixths - 3)
    less_blue = torch.maximum(3 - sixths, sixths - 5)
    out = torch.stack([less_red, less_green, less_blue], 1).clamp_(0, 1)
    return out.mul_(-amount[:, None]).add_(1).mul_(value[:, None]).add_(0.5).floor_()


def _hue(value: Plane, spread: Plane, red: Plane, green: Plane, blue: Plane) -> Plane:
    """0 to 255 around the circle from red, cut off; single and double precision where PIL has them.

    Whole numbers choose, not `torch.where`, which is forty times slower on a CPU.
    """
    at_red = (1 - (value - red)).clamp_(min=0)
    at_green = (1 - (value - green)).clamp_(min=0) * (1 - at_red)
    at_blue = 1 - at_red - at_green
    plus = at_red * blue + at_green * red + at_blue * green
    minus = at_red * green + at_green * blue + at_blue * red
    begin = at_green * 2 + at_blue * 4
    whole = spread.clamp(min=1)
    sixths = (begin.double() + ((value - plus) / whole).double() - ((value - minus) / whole).double()).float()
    return ((sixths.double() / 6 + 1).frac_().float() * 255).floor_()


def _blend(ground: Tensor, x: Pixels, factors: Factors) -> Pixels:
    """PIL's blend: single precision, cut off."""
    factor = factors.float()[:, None, None, None]
    return ((x - ground).mul_(factor)).add_(ground).clamp_(0, 255).floor_()
