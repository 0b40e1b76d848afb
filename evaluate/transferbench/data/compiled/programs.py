"""The two functions of compiled code that the rest of the package calls: draw numbers, make a view."""

from typing import no_type_check

import numpy as np

from transferbench.data.compiled import blur, color, drawing, resizing
from transferbench.data.compiled.kernels import kernel, part

U64 = np.uint64

CROP, JITTER, GRAY, BLUR, SOLARIZE, INVERT, FLIP = range(7)
SETTINGS = 9
"""How many numbers an operation's settings are at most."""

_stream, _random, _uniform = drawing.stream, drawing.random, drawing.uniform
_draw_crop, _draw_jitter, _crop, _blur = drawing.crop, drawing.jitter, resizing.crop, blur.blur
_brightness, _contrast, _saturation, _hue, _gray = (
    color.brightness,
    color.contrast,
    color.saturation,
    color.hue,
    color.gray,
)


@kernel
@no_type_check
def draw(codes, settings, counts, begins, width, height, keys, out):
    """Fill each row of `out` with what one image of that size draws; a view begins at each operation in `begins`."""
    for n in range(keys.shape[0]):
        state, place, view = _stream(keys[n, 0], keys[n, 1]), 0, 0
        w, h = width, height
        for i in range(codes.shape[0]):
            if view < begins.shape[0] and begins[view] == i:
                w, h, view = width, height, view + 1
            code, own = codes[i], out[n, place : place + counts[i]]
            if code == CROP:
                _draw_crop(state, settings[i], w, h, own)
                w = h = int(settings[i, 6])
            elif code == JITTER:
                _draw_jitter(state, settings[i], own)
            else:
                own[0] = _random(state) < settings[i, 0]
                if code == BLUR and own[0]:
                    own[0] = _uniform(state, settings[i, 1], settings[i, 2])
            place += counts[i]


@kernel
@no_type_check
def make(images, rows, codes, settings, counts, numbers, mean, std, out):
    """Fill `out` (n 3 a b, float32) with one view of the images (all 3 h w, uint8) at `rows`."""
    for n in range(rows.shape[0]):
        pixels, own = images[rows[n]], numbers[n]
        first = codes[0] == CROP
        current = _crop(pixels, own, settings[0, 6:]) if first else _copied(pixels)
        place = counts[0] if first else 0
        for i in range(int(first), codes.shape[0]):
            code, drawn = codes[i], own[place : place + counts[i]]
            place += counts[i]
            if code == CROP:
                # With a step, of the same kind of array as the images: compiled once.
                current = _crop(current[:, :, ::1], drawn, settings[i, 6:])
                continue
            flat = current.reshape(3, current.shape[1] * current.shape[2])
            if code == JITTER:
                _jitter(flat, drawn)
            elif drawn[0] == 0:
                continue
            elif code == GRAY:
                _gray(flat)
            elif code == BLUR:
                _blur(current, drawn[0])
            elif code == FLIP:
                _mirror(current)
            else:
                _invert(flat, settings[i, 1] if code == SOLARIZE else 0)
        _normalize(current, mean, std, out[n])


@part
@no_type_check
def _copied(pixels):
    out = np.empty(pixels.shape, np.uint8)
    for c in range(3):
        for y in range(pixels.shape[1]):
            for x in range(pixels.shape[2]):
                out[c, y, x] = pixels[c, y, x]
    return out


@part
@no_type_check
def _mirror(current):
    width = current.shape[2]
    line = np.empty(width, np.uint8)
    for c in range(3):
        for y in range(current.shape[1]):
            row = current[c, y]
            for x in range(width):
                line[x] = row[x]
            for x in range(width):
                row[x] = line[U64(width - 1 - x)]  # unsigned: numba need not ask whether it counts from the end


@part
@no_type_check
def _jitter(flat, drawn):
    for k in range(4):
        which = int(drawn[k])
        if which == 0:
            _brightness(flat, drawn[4])
        elif which == 1:
            _contrast(flat, drawn[5])
        elif which == 2:
            _saturation(flat, drawn[6])
        elif which == 3:
            _hue(flat, drawn[7])


@part
@no_type_check
def _invert(flat, threshold):
    for c in range(3):
        line = flat[c]
        for i in range(line.shape[0]):
            line[i] = 255 - line[i] if line[i] >= threshold else line[i]


@part
@no_type_check
def _normalize(current, mean, std, out):
    for c in range(3):
        for y in range(current.shape[1]):
            line, into = current[c, y], out[c, y]
            for x in range(current.shape[2]):
                into[x] = (np.float32(line[x]) / np.float32(255) - mean[c]) / std[c]
