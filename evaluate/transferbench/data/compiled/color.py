"""Colors of one image, `3 n` uint8, changed in place as PIL and torchvision change them."""

from typing import no_type_check

import numpy as np

from transferbench.data.compiled.kernels import part

F = np.float32


@part
@no_type_check
def luma(red, green, blue):
    """PIL's fixed-point luma of one pixel."""
    return (np.int32(red) * 19595 + np.int32(green) * 38470 + np.int32(blue) * 7471 + 32768) >> 16


@part
@no_type_check
def blend(value, ground, factor):
    """PIL's blend of one value, all float32."""
    return np.uint8(min(max(ground + factor * (value - ground), F(0)), F(255)))


@part
@no_type_check
def brightness(pixels, factor):
    """Between black and the image, or beyond it."""
    factor = F(factor)
    for c in range(3):
        line = pixels[c]
        for i in range(line.shape[0]):
            line[i] = blend(F(line[i]), F(0), factor)


@part
@no_type_check
def contrast(pixels, factor):
    """Between the rounded mean luma and the image."""
    red, green, blue = pixels[0], pixels[1], pixels[2]
    factor, total = F(factor), 0
    for i in range(red.shape[0]):
        total += luma(red[i], green[i], blue[i])
    mean = F(int(total / red.shape[0] + 0.5))
    for c in range(3):
        line = pixels[c]
        for i in range(line.shape[0]):
            line[i] = blend(F(line[i]), mean, factor)


@part
@no_type_check
def saturation(pixels, factor):
    """Between the luma and the image."""
    red, green, blue, factor = pixels[0], pixels[1], pixels[2], F(factor)
    for i in range(red.shape[0]):
        ground = F(luma(red[i], green[i], blue[i]))
        red[i] = blend(F(red[i]), ground, factor)
        green[i] = blend(F(green[i]), ground, factor)
        blue[i] = blend(F(blue[i]), ground, factor)


@part
@no_type_check
def gray(pixels):
    """The luma in all three channels."""
    red, green, blue = pixels[0], pixels[1], pixels[2]
    for i in range(red.shape[0]):
        level = np.uint8(luma(red[i], green[i], blue[i]))
        red[i], green[i], blue[i] = level, level, level


@part
@no_type_check
def hue(pixels, factor):
    """The hue turned by a share of the circle, in PIL's HSV; see `pixels.color.hue`."""
    red, green, blue, turn = pixels[0], pixels[1], pixels[2], np.int32(factor * 255)
    for i in range(red.shape[0]):
        r, g, b = F(red[i]), F(green[i]), F(blue[i])
        value = max(max(r, g), b)
        spread = value - min(min(r, g), b)
        whole = max(spread, F(1))
        begin, plus, minus = 4.0, g, r
        if g == value:
            begin, plus, minus = 2.0, r, b
        if r == value:
            begin, plus, minus = 0.0, b, g
        sixths = F(begin + (value - plus) / whole - (value - minus) / whole)
        place = sixths / 6.0 + 1.0
        turned = np.int32(F(place - np.int32(place)) * F(255))
        place = F(np.float64((turned + turn) & 255) * 6.0 / 255.0)
        amount = F(np.int32(spread / max(value, F(1)) * F(255))) / F(255)
        red[i] = _part(value, amount, min(place - F(1), F(5) - place))
        green[i] = _part(value, amount, max(F(1) - place, place - F(3)))
        blue[i] = _part(value, amount, max(F(3) - place, place - F(5)))


@part
@no_type_check
def _part(value, amount, less):
    return np.uint8(value * (F(1) - amount * min(max(less, F(0)), F(1))) + F(0.5))
