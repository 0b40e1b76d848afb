"""PIL's Gaussian blur of one image, `3 h w` uint8, in place: box blurs, see `pixels.blur`."""

import math
from typing import no_type_check

import numpy as np

from transferbench.data.compiled.kernels import part

U32, F = np.uint32, np.float32
PASSES = 3
UNIT, HALF = 1 << 24, U32(1 << 23)


@part
@no_type_check
def boxes(deviation):
    """`pixels.blur.boxes` of one deviation."""
    square = F(F(deviation) * F(deviation)) / F(PASSES)
    length = F(math.sqrt(12.0 * np.float64(square) + 1.0))
    whole = F(math.floor((np.float64(length) - 1.0) / 2.0))
    rest = (F(2) * whole + F(1)) * (whole * (whole + F(1)) - F(3) * square)
    radius = whole + rest / (F(6) * (square - (whole + F(1)) * (whole + F(1))))
    reach = int(radius)
    inner = int(F(UNIT) / (radius * F(2) + F(1)))
    return reach, U32(inner), U32((UNIT - (2 * reach + 1) * inner) // 2)


@part
@no_type_check
def blur(pixels, deviation):
    """Three passes across and three down, by boxes that give the deviation."""
    _, height, width = pixels.shape
    reach, inner, outer = boxes(deviation)
    line = np.empty(width + 2 * reach + 2, np.uint32)
    near = np.empty(max(height, width), np.uint32)
    padded = np.empty((height + 2 * reach + 2, width), np.uint8)
    for c in range(3):
        for y in range(height):
            for _ in range(PASSES):
                _across(pixels[c, y], line, near, reach, inner, outer)
        for _ in range(PASSES):
            _down(pixels[c], padded, near, reach, inner, outer)


@part
@no_type_check
def _weighed(near, far, inner, outer):
    """In 32 bits throughout: numba would widen to 64, and a vector hold half as many."""
    return np.uint8(U32(U32(U32(near * inner) + U32(far * outer)) + HALF) >> U32(24))


@part
@no_type_check
def _across(row, line, near, reach, inner, outer):
    width, beyond = row.shape[0], reach + 1
    for x in range(beyond):
        line[x], line[beyond + width + x] = row[0], row[width - 1]
    for x in range(width):
        line[beyond + x] = row[x]
        near[x] = 0
    first, last = line[:width], line[2 * beyond :]
    for k in range(1, 2 * reach + 2):
        part = line[k : k + width]
        for x in range(width):
            near[x] = U32(near[x] + part[x])
    for x in range(width):
        row[x] = _weighed(near[x], U32(first[x] + last[x]), inner, outer)


@part
@no_type_check
def _down(plane, padded, near, reach, inner, outer):
    height, width = plane.shape
    beyond = reach + 1
    for y in range(height + 2 * beyond):
        row, into = plane[min(max(y - beyond, 0), height - 1)], padded[y]
        for x in range(width):
            into[x] = row[x]
    for y in range(height):
        row, first, last = plane[y], padded[y], padded[y + 2 * beyond]
        for x in range(width):
            near[x] = 0
        for k in range(1, 2 * reach + 2):
            part = padded[y + k]
            for x in range(width):
                near[x] = U32(near[x] + U32(part[x]))
        for x in range(width):
            row[x] = _weighed(near[x], U32(U32(first[x]) + U32(last[x])), inner, outer)
