"""The operations of `augment` as machine code for a CPU, one image after another, bit for bit as PIL does them.

Importing this room needs numba (`pip install transferbench[fast]`); no compiler of C is needed. Compiling took 8 CPU
seconds on a busy Intel Xeon, once in the life of an installation.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8, UInt64

from transferbench.data.augment import Blur, Change, Crop, Flip, Gray, Invert, Jitter, Size, Solarize
from transferbench.data.compiled import kernels, programs
from transferbench.data.compiled.programs import SETTINGS
from transferbench.data.pixels.resizing import SUPPORT, is_pillow_choosing
from transferbench.data.transforms import Preprocess
from transferbench.garbage import uncollected

CODES: dict[type[Change], int] = {
    Crop: programs.CROP,
    Jitter: programs.JITTER,
    Gray: programs.GRAY,
    Blur: programs.BLUR,
    Solarize: programs.SOLARIZE,
    Invert: programs.INVERT,
    Flip: programs.FLIP,
}


@dataclass(frozen=True)
class Program:
    """Operations as numbers that machine code can follow."""

    codes: Int64[np.ndarray, "k"]
    settings: Float64[np.ndarray, "k s"]
    counts: Int64[np.ndarray, "k"]
    """How many numbers each draws."""


def program(operations: Sequence[Change]) -> Program:
    """The program of such operations, all of which `pixels.can`."""
    settings = np.zeros((len(operations), SETTINGS))
    for row, operation in zip(settings, operations, strict=True):
        own = _settings(operation)
        row[: len(own)] = own
    codes = np.array([CODES[type(operation)] for operation in operations], np.int64)
    return Program(codes, settings, np.array([operation.COUNT for operation in operations], np.int64))


def drawn(views: Sequence[Program], size: Size, keys: UInt64[np.ndarray, "n 2"]) -> list[Float64[np.ndarray, "n _"]]:
    """What every image draws for each view, from the generator of its key: numpy's numbers, in numpy's order."""
    whole = Program(*(np.concatenate(part) for part in zip(*map(_parts, views), strict=True)))
    begins = np.cumsum([0, *(len(view.codes) for view in views)])[:-1]
    numbers = np.empty((len(keys), int(whole.counts.sum())))
    programs.draw(*_parts(whole), begins, *size, keys, numbers)
    return np.split(numbers, np.cumsum([view.counts.sum() for view in views])[:-1], axis=1)


def make(
    view: Program,
    images: UInt8[np.ndarray, "all h w 3"],
    rows: Int64[np.ndarray, "n"],
    numbers: Float64[np.ndarray, "n k"],
    preprocess: Preprocess,
    out: Float32[np.ndarray, "n 3 a b"],
) -> None:
    """Fill `out` with one view of the images at `rows`, normalized; row i of `numbers` is what the i-th drew."""
    mean, std = (np.array(v, np.float32) for v in (preprocess.mean, preprocess.std))
    numbers = np.ascontiguousarray(numbers)  # code is compiled for each kind of array: let it be one
    programs.make(images.transpose(0, 3, 1, 2), rows, *_parts(view), numbers, mean, std, out)


def compile_once(say: Callable[[str], None]) -> None:
    """Compile all functions now, before anything is timed, unless an earlier process kept them; tell when it begins."""
    if kernels.is_kept():
        return
    say("Compiling image operations for this machine, once; 10 to 40 s of one core")
    began = time.monotonic()
    view = program([Crop.model_validate({"op": "crop", "size": 8})])
    out = np.empty((1, 3, 8, 8), np.float32)
    with uncollected():
        (numbers,) = drawn([view], (8, 8), np.zeros((1, 2), np.uint64))
        make(view, np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64), numbers, Preprocess(), out)
    kernels.keep()
    say(f"Compiled in {time.monotonic() - began:.0f} s")


def _parts(view: Program) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return view.codes, view.settings, view.counts


def _settings(operation: Change) -> list[float | int]:
    match operation:
        case Crop():
            low, high = operation.ratio
            size, support = operation.size, SUPPORT[operation.interpolation]
            return [*operation.scale, math.log(low), math.log(high), low, high, size, support, is_pillow_choosing()]
        case Jitter():
            return [operation.p, *(bound for which in range(4) for bound in operation.range_of(which))]
        case Blur():
            return [operation.p, *operation.radius]
        case Solarize():
            return [operation.p, operation.threshold]
        case Gray() | Invert() | Flip():
            return [operation.p]
        case _:
            raise ValueError(f"no code for {operation}")
