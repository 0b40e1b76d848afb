"""The view that protocols test with: an image resized as PIL does it, of which only the central crop is worked out.

A pixel is one whole number of its three bytes, so that turning an image moves a third of the values.
"""

from typing import no_type_check

import numpy as np

from transferbench.data.compiled.kernels import kernel, part
from transferbench.data.compiled.resizing import BITS, BLOCK, I32, _weights

_weights_of = _weights
HALF = 1 << (BITS - 1)


@kernel
@no_type_check
def crop(pixels, height, width, top, left, support, down_first, out):
    """Fill `out` (3 a b, uint8) with the a x b pixels from (top, left) on of `pixels` (h w 3) as `height` x `width`."""
    a, b = out.shape[1], out.shape[2]
    down = _weights_of(pixels.shape[0], height, support)
    across = _weights_of(pixels.shape[1], width, support)
    y0, y1 = down[0][top], down[0][top + a - 1] + down[1][top + a - 1]
    x0, x1 = across[0][left], across[0][left + b - 1] + across[1][left + b - 1]
    words = _words(pixels, y0, y1, x0, x1)
    if down_first:
        lines = _turned(_pass(words, *down, top, a, y0))  # x1 - x0, a
        lines = _turned(_pass(lines, *across, left, b, x0))  # a b
    else:
        lines = _turned(_pass(_turned(words), *across, left, b, x0))  # y1 - y0, b
        lines = _pass(lines, *down, top, a, y0)  # a b
    for c in range(3):
        for y in range(a):
            line, into = lines[y], out[c, y]
            for x in range(b):
                into[x] = np.uint8((line[x] >> 8 * c) & 255)


@kernel
@no_type_check
def translate(pixels, table, is_reversed, out):
    """Fill `out` (3 a b, float32) with what `table[c]` has for the values of channel c, or 2 - c if `is_reversed`."""
    for c in range(3):
        values, plane = table[c], pixels[2 - c if is_reversed else c]
        for y in range(out.shape[1]):
            line, into = plane[y], out[c, y]
            for x in range(out.shape[2]):
                into[x] = values[line[x]]


@part
@no_type_check
def _words(pixels, y0, y1, x0, x1):
    """The box, `y1 - y0` rows of pixels."""
    out = np.empty((y1 - y0, x1 - x0), np.int32)
    for y in range(y1 - y0):
        line, into = pixels[y0 + y], out[y]
        for x in range(x1 - x0):
            r, g, b = line[x0 + x, 0], line[x0 + x, 1], line[x0 + x, 2]
            into[x] = I32(I32(r) | I32(I32(g) << 8) | I32(I32(b) << 16))
    return out


@part
@no_type_check
def _turned(lines):
    """The transpose, some rows at a time so that they stay in the cache."""
    height, width = lines.shape
    out = np.empty((width, height), np.int32)
    for start in range(0, height, BLOCK):
        end = min(start + BLOCK, height)
        for x in range(width):
            into = out[x]
            for y in range(start, end):
                into[y] = lines[y, x]
    return out


@part
@no_type_check
def _pass(lines, firsts, counts, weights, begin, size, offset):
    """Of resized lines those from `begin` on, `size m`; the given ones, `length m`, are those from `offset` on."""
    m = lines.shape[1]
    out = np.empty((size, m), np.int32)
    r, g, b = np.empty(m, np.int32), np.empty(m, np.int32), np.empty(m, np.int32)
    for i in range(size):
        own, first, count = weights[begin + i], firsts[begin + i] - offset, counts[begin + i]
        for j in range(m):
            r[j] = g[j] = b[j] = HALF
        two = count // 2 * 2
        for k in range(0, two, 2):  # two at a time, for the sums are read and written once
            v, w, line, next_line = own[k], own[k + 1], lines[first + k], lines[first + k + 1]
            for j in range(m):
                p, q = line[j], next_line[j]
                r[j] = I32(r[j] + I32(I32(I32(p & 255) * v) + I32(I32(q & 255) * w)))
                g[j] = I32(g[j] + I32(I32(I32((p >> 8) & 255) * v) + I32(I32((q >> 8) & 255) * w)))
                b[j] = I32(b[j] + I32(I32(I32(p >> 16) * v) + I32(I32(q >> 16) * w)))
        if two < count:
            v, line = own[two], lines[first + two]
            for j in range(m):
                p = line[j]
                r[j] = I32(r[j] + I32(I32(p & 255) * v))
                g[j] = I32(g[j] + I32(I32((p >> 8) & 255) * v))
                b[j] = I32(b[j] + I32(I32(p >> 16) * v))
        into = out[i]
        for j in range(m):
            red, green, blue = _clipped(r[j]), _clipped(g[j]), _clipped(b[j])
            into[j] = I32(red | I32(green << 8) | I32(blue << 16))
    return out


@part
@no_type_check
def _clipped(total):
    return I32(min(max(I32(total >> BITS), I32(0)), I32(255)))
