"""The numbers that `augment` draws, drawn by compiled code: numpy's Philox generator word for word.

A stream is five arrays of one image: the key (2), the words of a block (4) and its number, how many words of it are
used, and whether half a word is left over with what it is (numpy's `philox.h` and `distributions.c`).
"""

import math
from typing import no_type_check

import numpy as np

from transferbench.data.compiled.kernels import part

U64 = np.uint64
LOW = U64(0xFFFFFFFF)
HALF = U64(32)
MULTIPLIERS = (U64(0xD2E7470EE14C6C93), U64(0xCA5A826395121157))
STEPS = (U64(0x9E3779B97F4A7C15), U64(0xBB67AE8584CAA73B))
ROUNDS = 10
WORDS, NUMBER, USED, HAS_HALF, LEFT = 2, 6, 7, 8, 9
"""The layout of a stream of ten uint64: the key first."""


@part
@no_type_check
def stream(first, second):
    """A generator of that key that has drawn nothing."""
    state = np.zeros(10, np.uint64)
    state[0], state[1], state[USED] = first, second, 4
    return state


@part
@no_type_check
def _high(a, b):
    """The upper half of a product of 64-bit words."""
    a0, a1, b0, b1 = a & LOW, a >> HALF, b & LOW, b >> HALF
    middle = a1 * b0 + ((a0 * b0) >> HALF)
    return a1 * b1 + (middle >> HALF) + ((a0 * b1 + (middle & LOW)) >> HALF)


@part
@no_type_check
def _block(state):
    """The next four words."""
    state[NUMBER] += U64(1)
    w0, w1, w2, w3, k0, k1 = state[NUMBER], U64(0), U64(0), U64(0), state[0], state[1]
    for _ in range(ROUNDS):
        high0, high1 = _high(MULTIPLIERS[0], w0), _high(MULTIPLIERS[1], w2)
        w0, w1, w2, w3 = high1 ^ w1 ^ k0, MULTIPLIERS[1] * w2, high0 ^ w3 ^ k1, MULTIPLIERS[0] * w0
        k0, k1 = k0 + STEPS[0], k1 + STEPS[1]
    state[WORDS], state[WORDS + 1], state[WORDS + 2], state[WORDS + 3], state[USED] = w0, w1, w2, w3, U64(0)


@part
@no_type_check
def _word(state):
    if state[USED] == 4:
        _block(state)
    used = np.int64(state[USED])
    state[USED] = used + 1
    return state[WORDS + used]


@part
@no_type_check
def _half_word(state):
    if state[HAS_HALF]:
        state[HAS_HALF] = 0
        return state[LEFT]
    word = _word(state)
    state[HAS_HALF], state[LEFT] = 1, word >> HALF
    return word & LOW


@part
@no_type_check
def random(state):
    """`Generator.random`."""
    return (_word(state) >> U64(11)) * (1.0 / 9007199254740992.0)


@part
@no_type_check
def below(state, bound):
    """`Generator.integers(bound)`."""
    if bound == 1:
        return np.int64(0)
    bound = U64(bound)
    product = _half_word(state) * bound
    if product & LOW < bound:
        threshold = (LOW - bound + U64(1)) % bound
        while product & LOW < threshold:
            product = _half_word(state) * bound
    return np.int64(product >> HALF)


@part
@no_type_check
def _up_to(state, top):
    """What `Generator.permutation` draws an exchange by, at most 3: two bits, again until they are not above."""
    mask = U64(1 if top == 1 else 3)
    number = np.int64(_half_word(state) & mask)
    while number > top:
        number = np.int64(_half_word(state) & mask)
    return number


@part
@no_type_check
def uniform(state, low, high):
    """`Generator.uniform`."""
    return low + (high - low) * random(state)


@part
@no_type_check
def crop(state, settings, width, height, out):
    """What `transforms.crop_box` draws; settings are scale, logarithms of ratio, and ratio."""
    for _ in range(10):
        area = width * height * uniform(state, settings[0], settings[1])
        aspect = math.exp(uniform(state, settings[2], settings[3]))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            out[0], out[1], out[2], out[3] = below(state, height - h + 1), below(state, width - w + 1), h, w
            return
    w, h = min(width, round(height * settings[5])), min(height, round(width / settings[4]))
    out[0], out[1], out[2], out[3] = (height - h) // 2, (width - w) // 2, h, w


@part
@no_type_check
def jitter(state, settings, out):
    """What `augment.Jitter` draws; settings are p and four ranges."""
    for i in range(4):
        out[i], out[4 + i] = -1, 0
    if random(state) >= settings[0]:
        return
    for i in range(4):
        out[i] = i
    for i in range(3, 0, -1):
        j = _up_to(state, i)
        out[i], out[j] = out[j], out[i]
    for i in range(4):
        which = int(out[i])
        out[4 + which] = uniform(state, settings[1 + 2 * which], settings[2 + 2 * which])
