"""A box cut out and resized as PIL does it: integer weights, two passes, each rounded to 8 bits.

A pass goes along the first axis, so that its inner loop runs over pixels that lie side by side.
"""

import math
from typing import no_type_check

import numpy as np

from transferbench.data.compiled.kernels import part

I32 = np.int32
BITS = 22
BLOCK = 64


@part
@no_type_check
def crop(pixels, box, settings):
    """`3 size size` of `3 h w`, all uint8; settings are size, support and whether Pillow chooses its first pass.

    The box is (top, left, height, width); the support is 2 for the bicubic filter and 1 for the bilinear.
    """
    top, left, height, width = int(box[0]), int(box[1]), int(box[2]), int(box[3])
    size, support = int(settings[0]), int(settings[1])
    taller, wider = height - size, width - size
    down_first = settings[2] != 0 and taller > 0 and taller > 2 * wider  # see `pixels.resizing.down_first`
    out = np.empty((3, size, size), np.uint8)
    if down_first:
        lines = _pass(_rows(pixels, top, left, height, width), size, support)
        lines = _pass(_turned(lines, width), size, support)
        for x in range(size):
            for c in range(3):
                for y in range(size):
                    out[c, y, x] = lines[x, c * size + y]
    else:
        lines = _pass(_columns(pixels, top, left, height, width), size, support)
        lines = _pass(_turned(lines, height), size, support)
        for y in range(size):
            for c in range(3):
                for x in range(size):
                    out[c, y, x] = lines[y, c * size + x]
    return out


@part
@no_type_check
def _rows(pixels, top, left, height, width):
    """The box as `height 3*width`."""
    out = np.empty((height, 3 * width), np.uint8)
    for y in range(height):
        for c in range(3):
            for x in range(width):
                out[y, c * width + x] = pixels[c, top + y, left + x]
    return out


@part
@no_type_check
def _columns(pixels, top, left, height, width):
    """The box as `width 3*height`."""
    out = np.empty((width, 3 * height), np.uint8)
    for c in range(3):
        _turn(pixels[c, top : top + height, left : left + width], out[:, c * height : (c + 1) * height])
    return out


@part
@no_type_check
def _turned(lines, length):
    """`length 3*size` of `size 3*length`."""
    size = lines.shape[0]
    out = np.empty((length, 3 * size), np.uint8)
    for c in range(3):
        _turn(lines[:, c * length : (c + 1) * length], out[:, c * size : (c + 1) * size])
    return out


@part
@no_type_check
def _turn(plane, out):
    """`out` (w h) becomes the transpose of `plane` (h w), some rows at a time so that they stay in the cache."""
    height, width = plane.shape
    for start in range(0, height, BLOCK):
        rows, columns = plane[start : start + BLOCK], out[:, start : start + BLOCK]
        for x in range(width):
            for y in range(rows.shape[0]):
                columns[x, y] = rows[y, x]


@part
@no_type_check
def _pass(lines, size, support):
    """`size m` of `length m`."""
    length, m = lines.shape
    firsts, counts, weights = _weights(length, size, support)
    out, sums = np.empty((size, m), np.uint8), np.empty(m, np.int32)
    for i in range(size):
        for j in range(m):
            sums[j] = 1 << (BITS - 1)
        first, four = firsts[i], counts[i] // 4 * 4
        for k in range(0, four, 4):  # four at a time, for the sums are read and written once
            w0, w1, w2, w3 = weights[i, k], weights[i, k + 1], weights[i, k + 2], weights[i, k + 3]
            l0, l1, l2, l3 = lines[first + k], lines[first + k + 1], lines[first + k + 2], lines[first + k + 3]
            for j in range(m):
                pair = I32(I32(I32(l0[j]) * w0) + I32(I32(l1[j]) * w1))
                other = I32(I32(I32(l2[j]) * w2) + I32(I32(l3[j]) * w3))
                sums[j] = I32(sums[j] + I32(pair + other))
        for k in range(four, counts[i]):
            weight, line = weights[i, k], lines[first + k]
            for j in range(m):
                sums[j] = I32(sums[j] + I32(I32(line[j]) * weight))
        for j in range(m):
            out[i, j] = np.uint8(min(max(sums[j] >> BITS, 0), 255))
    return out


@part
@no_type_check
def _weights(length, size, support):
    """For each of `size` pixels: the first it sees, how many, and their weights in units of 1/2^22."""
    scale = length / size
    stretch = max(scale, 1.0)
    reach = support * stretch
    firsts, counts = np.empty(size, np.int64), np.empty(size, np.int64)
    weights = np.empty((size, math.ceil(reach) * 2 + 1), np.int32)
    shares = np.empty(weights.shape[1])
    for i in range(size):
        center = (i + 0.5) * scale
        first = max(int(center - reach + 0.5), 0)
        count = min(int(center + reach + 0.5), length) - first
        total = 0.0
        for k in range(count):
            shares[k] = _curve((k + first - center + 0.5) * (1 / stretch), support)
            total += shares[k]
        for k in range(count):
            share = shares[k] / total
            weights[i, k] = int(share * (1 << BITS) + (-0.5 if share < 0 else 0.5))
        firsts[i], counts[i] = first, count
    return firsts, counts, weights


@part
@no_type_check
def _curve(x, support):
    x = abs(x)
    if support == 1:
        return max(1 - x, 0.0)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0
