"""Padding as TensorFlow and JAX do it."""

import math

import torch.nn.functional as F
from torch import Tensor, nn


def same(image: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around `b c h w` so that a convolution gives `ceil(size / stride)`: one more below and right if uneven."""
    sides: list[int] = []
    for size in (image.shape[-1], image.shape[-2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        sides += [total // 2, total - total // 2]
    return F.pad(image, sides)


def pad_same(network: nn.Module) -> None:
    """Make every convolution and max-pool of a network pad in this way. The max-pools are behind ReLUs: zero is least.

    Deviates from torch where a stride of 2 meets an even size (docs/checkpoints.md#traps).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding = (0, 0)
        elif isinstance(module, nn.MaxPool2d):
            module.padding = 0
        else:
            continue
        module.register_forward_pre_hook(_before)


def _before(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    assert isinstance(module, nn.Conv2d | nn.MaxPool2d)
    kernel, stride = (v if isinstance(v, int) else v[0] for v in (module.kernel_size, module.stride))
    return (same(inputs[0], kernel, stride),)
