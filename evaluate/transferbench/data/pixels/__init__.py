"""The operations of `augment` on whole batches of images, on any device, each image by numbers of its own.

All values are those PIL gives, bit for bit: PIL works in 8 bits, and whole numbers up to 2^24 are exact in float32, so
an image is held as whole numbers from 0 to 255 between operations and every rounding is PIL's. Blur with torchvision's
kernel is the one operation that is not here: its float sums depend on their order.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor

from transferbench.data.augment import Blur, Change, Crop, Drawn, Flip, Gray, Invert, Jitter, Size, Solarize
from transferbench.data.pixels import blur, color, resizing
from transferbench.data.transforms import Preprocess

Pixels = Float32[Tensor, "n 3 h w"]
Numbers = Float64[np.ndarray, "n k"]


def can(operations: Sequence[Change]) -> bool:
    """Whether all operations are to be had here."""
    return not any(isinstance(operation, Blur) and operation.kernel for operation in operations)


def drawn(operations: Sequence[Change], size: Size, rng: np.random.Generator) -> Drawn:
    """The numbers of all operations for one image of `size`, in order, as calling them one by one would draw them."""
    numbers: list[float] = []
    for operation in operations:
        numbers += operation.draw(size, rng)
        size = operation.resized(size)
    return tuple(numbers)


def changed(
    operations: Sequence[Change], images: UInt8[Tensor, "n 3 h w"], numbers: Numbers
) -> Float32[Tensor, "n 3 a b"]:
    """The images after all operations, as whole numbers from 0 to 255; row i of `numbers` is what image i drew."""
    x, start = images.to(torch.float32, memory_format=torch.contiguous_format), 0
    for operation in operations:
        end = start + operation.COUNT
        x = APPLY[type(operation)](operation, x, numbers[:, start:end])
        start = end
    return x


def normalized(images: Float32[Tensor, "n 3 h w"], preprocess: Preprocess) -> Float32[Tensor, "n 3 h w"]:
    """Torchvision's ToTensor and Normalize of such whole numbers; the tensor given is overwritten."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (preprocess.mean, preprocess.std))
    return images.div_(255).sub_(mean).div_(std)


def _crop(operation: Crop, x: Pixels, numbers: Numbers) -> Float32[Tensor, "n 3 s s"]:
    return resizing.crop(x, numbers, operation.size, operation.interpolation)


def _jitter(operation: Jitter, x: Pixels, numbers: Numbers) -> Pixels:
    change = (color.brightness, color.contrast, color.saturation, color.hue)
    for order in numbers[:, :4].T:
        for which in range(4):
            factors = numbers[:, 4 + which]
            x = _some(x, order == which, lambda part, own, which=which: change[which](part, own), factors)
    return x


def _gray(operation: Gray, x: Pixels, numbers: Numbers) -> Pixels:
    return _some(x, numbers[:, 0] > 0, lambda part, own: color.luminance(part).expand_as(part))


def _blur(operation: Blur, x: Pixels, numbers: Numbers) -> Pixels:
    reach, weights = blur.boxes(numbers[:, 0])
    for whole in np.unique(reach[numbers[:, 0] > 0]).tolist():
        chosen = (reach == whole) & (numbers[:, 0] > 0)
        x = _some(x, chosen, lambda part, own, whole=whole: blur.blurred(part, whole, own), weights)
    return x


def _solarize(operation: Solarize, x: Pixels, numbers: Numbers) -> Pixels:
    def solarized(part: Pixels, own: Tensor) -> Pixels:
        bright = (part - (operation.threshold - 1)).clamp_(0, 1)
        return part + bright * (255 - 2 * part)

    return _some(x, numbers[:, 0] > 0, solarized)


def _invert(operation: Invert, x: Pixels, numbers: Numbers) -> Pixels:
    return _some(x, numbers[:, 0] > 0, lambda part, own: 255 - part)


def _flip(operation: Flip, x: Pixels, numbers: Numbers) -> Pixels:
    return _some(x, numbers[:, 0] > 0, lambda part, own: part.flip(3))


APPLY: dict[type[Change], Callable[..., Tensor]] = {
    Crop: _crop,
    Jitter: _jitter,
    Gray: _gray,
    Blur: _blur,
    Solarize: _solarize,
    Invert: _invert,
    Flip: _flip,
}


def _some(
    x: Pixels, chosen: np.ndarray, change: Callable[[Pixels, Tensor], Tensor], numbers: np.ndarray | None = None
) -> Pixels:
    """`x` with the chosen images changed in place, by their rows of `numbers` where there are some."""
    rows = np.flatnonzero(chosen)
    if len(rows):
        place = torch.from_numpy(rows).to(x.device)
        own = torch.from_numpy(rows if numbers is None else numbers[rows]).to(x.device)
        x[place] = change(x[place], own)
    return x
